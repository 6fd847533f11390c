//! Changes that an embedding program supplies as a Rust function (`[[change]] custom = "name"`).
//!
//! Each output of such a change is a computed value, like the target of a `compute`. A write pins the inputs, and the
//! journal records the written value. Undo acts only on that record, and verification computes the value again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::item::{Item, NotComputable, Path, Value};

/// A function that an embedding program supplies. It computes attributes from other attributes of the same item.
///
/// A plan refers to it by its name, and states what it reads and writes:
///
/// ```toml
/// [[change]]
/// custom = "full-name"
/// inputs = ["first", "last"]
/// outputs = ["full_name"]
/// ```
///
/// Supply it in [`Options::custom_changes`](crate::Options::custom_changes). A plan with a custom change that nobody
/// supplies is refused, so the `backfill` binary refuses every plan with a custom change.
///
/// The tool, not the function, reads and writes the table. Every write is conditional on the inputs from which its
/// values were computed. `rollback` removes or restores only values that the journal recorded. `verify` calls the
/// function again and compares.
///
/// # Example
///
/// ```
/// use backfill::Value;
/// use backfill::ports::change::CustomChange;
/// use backfill::ports::dynamodb::Item;
///
/// struct FullName;
///
/// impl CustomChange for FullName {
///     fn name(&self) -> &str {
///         "full-name"
///     }
///
///     fn version(&self) -> &str {
///         "1"
///     }
///
///     fn compute(&self, inputs: &Item) -> Result<Option<Item>, &'static str> {
///         match (inputs.get("first"), inputs.get("last")) {
///             (Some(Value::S(first)), Some(Value::S(last))) => {
///                 Ok(Some(Item::from([("full_name".to_owned(), Value::S(format!("{first} {last}")))])))
///             }
///             (None, _) | (_, None) => Ok(None),
///             (Some(_), Some(_)) => Err("a name is not a string"),
///         }
///     }
/// }
/// ```
pub trait CustomChange: Send + Sync {
    /// Returns the name by which plans refer to the change.
    fn name(&self) -> &str;

    /// Returns the version of the function. It is part of the plan's fingerprint: every command, including `rollback`,
    /// needs the version with which the migration began. Change it whenever the function may compute a different value
    /// from the same inputs. The version must not be empty.
    fn version(&self) -> &str;

    /// Computes the outputs from the inputs that the item has. An input that the item lacks is missing from `inputs`.
    /// The function is not called for an item that has none of the inputs.
    ///
    /// Returns a value for each output of the plan, and no other values. Returns `None` if the item needs no change.
    ///
    /// The result must depend only on `inputs`, never on a clock, on random numbers or on the network. The tool calls
    /// the function several times for an item (once for each output), from several threads, and compares the results of
    /// different calls. These threads also send requests, so the function must be fast and must not block. At the
    /// beginning of a pass, the tool calls the function twice for up to 100 items, and stops if the results differ.
    ///
    /// # Errors
    ///
    /// If the item has no result, returns the reason. The item is then not computable. The reason is a fixed text,
    /// because failure lists and logs show it, and these must never contain values. A panic also makes the item not
    /// computable. Rust's panic hook prints the message of a panic, so that message must not contain values either.
    fn compute(&self, inputs: &Item) -> Result<Option<Item>, &'static str>;
}

/// How one output of a custom change is computed.
#[derive(Clone)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct CustomFormula {
    /// The name of the change.
    pub name: String,
    /// The attributes that the function receives.
    pub inputs: Vec<Path>,
    /// All attributes that the function computes.
    pub outputs: Vec<Path>,
    /// The output that this formula computes. It is one of `outputs`.
    pub output: Path,
    /// The function's version. Empty until a program supplies the function.
    version: String,
    function: Option<Arc<dyn CustomChange>>,
}

impl CustomFormula {
    /// Creates the formula for one output. It has no result until a program supplies the function.
    pub fn new(name: String, inputs: Vec<Path>, outputs: Vec<Path>, output: Path) -> CustomFormula {
        CustomFormula { name, inputs, outputs, output, version: String::new(), function: None }
    }

    /// Sets the function that computes the values.
    pub fn supply(&mut self, function: Arc<dyn CustomChange>) {
        function.version().clone_into(&mut self.version);
        self.function = Some(function);
    }

    /// Returns the function's version, or an empty text if nobody has supplied the function.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Computes the output for this item. Returns `None` if the item has none of the inputs, or if the function returns
    /// `None`.
    ///
    /// # Errors
    ///
    /// Fails if the function has no result, panics, or does not return exactly the outputs of the plan.
    pub fn value(&self, item: &Item) -> Result<Option<Value>, NotComputable> {
        let present = self.inputs.iter().filter_map(|input| Some((input.root().to_owned(), input.get(item)?.clone())));
        let inputs: Item = present.collect();
        if inputs.is_empty() {
            return Ok(None);
        }
        let failed = |what: &str| NotComputable::new(format!("the custom change `{}` {what}", self.name));
        let Some(function) = &self.function else { return Err(failed("is not supplied by this program")) };
        // A bug in the function must not end the run. Instead, the item becomes a failure.
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| function.compute(&inputs))) else {
            return Err(failed("panicked"));
        };
        let outputs = match answer {
            Ok(Some(outputs)) => outputs,
            Ok(None) => return Ok(None),
            Err(why) => return Err(failed(&format!("has no result: {}", why.escape_debug()))),
        };
        if outputs.len() > self.outputs.len()
            || outputs.keys().any(|name| !self.outputs.iter().any(|o| o.root() == name))
        {
            return Err(failed("returned an attribute that is not in `outputs`"));
        }
        let Some(value) = outputs.get(self.output.root()) else {
            return Err(failed(&format!("returned no value for `{}`", self.output)));
        };
        // Reading the value as DynamoDB JSON checks the rules for sets and numbers.
        match Value::from_json(&value.to_json()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(failed(&format!("returned a value for `{}` that DynamoDB cannot store", self.output))),
        }
    }
}

impl fmt::Debug for CustomFormula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CustomFormula { name, inputs, outputs, output, version, function } = self;
        f.debug_struct("CustomFormula")
            .field("name", name)
            .field("inputs", inputs)
            .field("outputs", outputs)
            .field("output", output)
            .field("version", version)
            .field("is_supplied", &function.is_some())
            .finish()
    }
}

/// Functions cannot be compared. Their names and versions identify them.
impl PartialEq for CustomFormula {
    fn eq(&self, other: &CustomFormula) -> bool {
        let CustomFormula { name, inputs, outputs, output, version, function } = self;
        *name == other.name
            && *inputs == other.inputs
            && *outputs == other.outputs
            && *output == other.output
            && *version == other.version
            && function.is_some() == other.function.is_some()
    }
}

impl Eq for CustomFormula {}

impl fmt::Display for CustomFormula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.inputs.iter().map(Path::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "the custom change {} of {inputs}", self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " (version {})", self.version.escape_debug()) }
    }
}
