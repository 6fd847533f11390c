//! Reads `role_arn` and `role_external_id` in `[table]`.

use super::AssumedRole;
use super::diagnostic::{Diagnostic, Problems};
use super::fields::{Fields, check};
use super::names::{external_id, role_account, role_arn};

/// Maximum length of a session name in AWS.
const MAX_SESSION_NAME: usize = 64;

/// Reads the role. `account` is the value of the field `account`. `migration` is the name of the migration. The name
/// can be invalid or missing.
pub(super) fn read(
    fields: &Fields<'_, '_>,
    account: Option<&str>,
    migration: Option<&str>,
    problems: &mut Problems,
) -> Option<AssumedRole> {
    let external_id = fields.checked_text("role_external_id", "\"backfill-7\"", problems, external_id);
    let Some(written) = fields.text("role_arn", "\"arn:aws:iam::123456789012:role/backfill\"", problems) else {
        if let (None, Some((name, _))) = (fields.get("role_arn"), fields.get("role_external_id"))
            && !fields.has_misspelt(&["role_arn"])
        {
            problems.add_missing(
                Diagnostic::new("`role_external_id` needs `role_arn`", name, "no role is named").help(
                    "write `role_arn = \"arn:aws:iam::123456789012:role/backfill\"`, or remove `role_external_id`",
                ),
            );
        }
        return None;
    };
    let arn = check(&written, problems, role_arn)?;
    if let (Some(own), Some(account)) = (role_account(&arn), account)
        && own != account
    {
        let mut problem = Diagnostic::new(
            "the role cannot access a table of this account",
            written.span(),
            format!("a role of account {own}"),
        );
        if let Some((_, value)) = fields.get("account") {
            problem = problem.also(value.span(), "the account that must own the table");
        }
        problems.add(
            problem.help("a role can only access tables of its own account, so use a role of the table's account"),
        );
    }
    Some(AssumedRole { arn, external_id, session_name: session_name(migration.unwrap_or_default()) })
}

/// Returns the name of the session. All characters of a valid migration name are allowed in a session name.
fn session_name(migration: &str) -> String {
    let mut name = format!("backfill-{migration}");
    name.truncate(MAX_SESSION_NAME);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, load};

    fn plan(name: &str, table: &str) -> Plan {
        let text = format!(
            "[migration]\nname = \"{name}\"\n[table]\nname = \"shop\"\n{table}\n[[change]]\nmove = \"a\"\nto = \"b\"\n"
        );
        load("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn the_session_has_the_migrations_name() {
        let arn = "arn:aws-cn:iam::123456789012:role/team/back+fill";
        let role = plan("rename-email", &format!("role_arn = \"{arn}\"")).table.role.unwrap();
        let expected = AssumedRole { arn: arn.into(), external_id: None, session_name: "backfill-rename-email".into() };
        assert_eq!(role, expected);
        let long = plan(&"x".repeat(64), &format!("role_arn = \"{arn}\"\nrole_external_id = \"a-b\""));
        let role = long.table.role.unwrap();
        assert_eq!((role.session_name.len(), role.external_id.as_deref()), (64, Some("a-b")));
    }

    /// The role determines only how to reach the table, so a run can resume with a different role.
    #[test]
    fn a_role_does_not_change_the_fingerprint() {
        let with = plan("m", "role_arn = \"arn:aws:iam::123456789012:role/backfill\"\nrole_external_id = \"abc\"");
        assert!(with.table.role.is_some());
        assert_eq!(with.fingerprint(), plan("m", "").fingerprint());
    }
}
