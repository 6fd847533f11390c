//! Why no code is generated for a plan.

use crate::item::Path;

/// Why no code is generated for a plan. The text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum ShimRefusal {
    /// The plan writes in place.
    #[error(
        "the plan has no cutover, because it works in place: a run makes all changes of an item, and no later step changes \
         the item. No flag says which attribute is current. Use \"expand-contract\" to switch readers and writers with a \
         flag"
    )]
    InPlace,
    /// The plan changes the elements of a list or map.
    #[error(
        "the plan changes the elements of `{container}` in one step, so no flag says which form is current. Let readers \
         accept the old and the new form, as RUNBOOK.md, \"Change the elements of a list or map\", describes"
    )]
    Elements {
        /// The list or map.
        container: Path,
    },
    /// The plan moves nothing.
    #[error(
        "the plan moves no attribute. Readers and writers do not switch from one attribute to another, so the \
         application needs no generated code"
    )]
    NoMove,
    /// The plan has no flag.
    #[error(
        "the plan has no flag, and the generated code obeys a flag. Add one, for example \
         `[cutover]` with `table = \"my-flags\"` (docs/flag.md), or switch the application by hand as RUNBOOK.md, \"Without a \
         flag\", describes"
    )]
    NoFlag,
    /// The plan does not name the partition key.
    #[error(
        "the plan does not name the table's key. The generated code needs the name of the partition key, because the flag \
         covers a percentage of the partition keys. Add it to [table], for example `key = [\"pk\", \"sk\"]`"
    )]
    NoKey,
    /// A computed value replaces an attribute.
    #[error(
        "`{to}` replaces `{from}` by a computed value. The application must compute both values itself, and only you can \
         write that in its language: docs/flag.md, \"If the new value is computed\", has the rules"
    )]
    Computed {
        /// The old path.
        from: Path,
        /// The new path.
        to: Path,
    },
    /// A change moves a value from one map to another.
    #[error(
        "`{from}` and `{to}` are in different maps. DynamoDB refuses an update of both if one of the maps is missing, so no \
         update is safe for every item. Write this part yourself: docs/flag.md has the rules"
    )]
    DifferentMaps {
        /// The old path.
        from: Path,
        /// The new path.
        to: Path,
    },
}
