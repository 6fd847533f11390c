//! Checks the names in a plan. For an invalid name, a check returns an error message and a help text.

/// Checks the name of a migration.
pub(super) fn migration_name(name: &str) -> Result<(), (String, String)> {
    if (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Ok(());
    }
    let help = "use 1 to 64 letters (a-z, A-Z), digits, `-` and `_`, because the name is part of the state file's name";
    Err(("the migration's name cannot be used".into(), help.into()))
}

/// Checks the name of a health check. The name appears in messages and in a label of the metrics.
pub(super) fn health_check_name(name: &str) -> Result<(), (String, String)> {
    migration_name(name).map_err(|_| {
        ("a health check cannot have this name".into(), "use 1 to 64 letters (a-z, A-Z), digits, `-` and `_`".into())
    })
}

/// Checks a table's name against DynamoDB's naming rules (developer guide, "Naming rules").
pub(super) fn table_name(name: &str) -> Result<(), (String, String)> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (3..=255).contains(&name.len()) && name.chars().all(valid) {
        return Ok(());
    }
    let help = match name.strip_prefix("arn:").and_then(|arn| arn.split_once(":table/")) {
        Some((_, table)) => {
            format!("write only the name, {table:?}, not the ARN; region and account have their own fields")
        }
        None => "use 3 to 255 letters (a-z, A-Z), digits, `_`, `-` and `.`".to_owned(),
    };
    Err(("a DynamoDB table cannot have this name".into(), help))
}

/// Checks an index's name against DynamoDB's naming rules (developer guide, "Naming rules").
pub(super) fn index_name(name: &str) -> Result<(), (String, String)> {
    table_name(name).map_err(|_| {
        (
            "an index cannot have this name".to_owned(),
            "write only the name of the index: 3 to 255 letters (a-z, A-Z), digits, `_`, `-` and `.`".to_owned(),
        )
    })
}

/// Checks the name of a region.
pub(super) fn region(name: &str) -> Result<(), (String, String)> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(valid) {
        return Ok(());
    }
    Err(("this is not the name of a region".into(), "write it like \"eu-west-1\"".into()))
}

/// Checks the URL of an endpoint.
pub(super) fn endpoint_url(url: &str) -> Result<(), (String, String)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    let valid =
        |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '@' | '\\' | '{' | '}' | '|' | '^' | '`');
    if !host.is_empty() && !host.starts_with(':') && url.chars().all(valid) && url.len() <= 2048 {
        return Ok(());
    }
    let help = "write a URL such as \"http://127.0.0.1:8000\" or \"https://dynamodb.eu-west-1.amazonaws.com\"";
    Err(("this is not an http or https URL".into(), help.into()))
}

/// Checks the name of a profile.
pub(super) fn profile(name: &str) -> Result<(), (String, String)> {
    if (1..=255).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err((
        "this is not the name of a profile".into(),
        "use the name of a profile in your AWS configuration, such as \"prod\"".into(),
    ))
}

/// Checks the path of a pause file.
pub(super) fn pause_file(path: &str) -> Result<(), (String, String)> {
    if std::path::Path::new(path).is_absolute() && path.len() <= 4_096 && !path.chars().any(char::is_control) {
        return Ok(());
    }
    Err((
        "this is not an absolute path".into(),
        "several migrations can use the same file, so write its absolute path, such as \"/etc/backfill/pause\"".into(),
    ))
}

/// Checks the name of an environment variable.
pub(super) fn environment_variable(name: &str) -> Result<(), (String, String)> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.len() <= 255 && name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit()) {
        return Ok(());
    }
    Err((
        "`webhook_env` is not the name of an environment variable".into(),
        "write the name of the variable that contains the address, such as \"BACKFILL_WEBHOOK_URL\". The address itself \
         is a secret, so it does not belong in a plan"
            .into(),
    ))
}

/// Checks an AWS account id.
pub(super) fn account(id: &str) -> Result<(), (String, String)> {
    if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err((
        "this is not an AWS account id".into(),
        "write a quoted string of 12 digits without dashes: \"123456789012\"".into(),
    ))
}

/// Checks the ARN of a role (IAM user guide, "IAM ARNs").
pub(super) fn role_arn(arn: &str) -> Result<(), (String, String)> {
    if role_account(arn).is_some() {
        return Ok(());
    }
    let help = match arn.split_once(":assumed-role/") {
        Some(_) => "this is the ARN of a session. Write the ARN of its role, which contains `:iam::` and `:role/`",
        None => "write it like \"arn:aws:iam::123456789012:role/backfill\"",
    };
    Err(("this is not the ARN of a role".into(), help.into()))
}

/// Returns the account of a role, or `None` if the text is not the ARN of a role.
pub(super) fn role_account(arn: &str) -> Option<&str> {
    let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":iam::")?;
    let (id, role) = rest.split_once(":role/")?;
    let is_partition = partition.starts_with("aws") && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let name = role.rsplit('/').next().unwrap_or_default();
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    let is_role = (1..=64).contains(&name.len()) && role.len() <= 576 && role.chars().all(valid);
    (is_partition && is_role && account(id).is_ok()).then_some(id)
}

/// Checks an external ID (STS API reference, `AssumeRole`).
pub(super) fn external_id(id: &str) -> Result<(), (String, String)> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if (2..=1224).contains(&id.len()) && id.chars().all(valid) {
        return Ok(());
    }
    Err((
        "this is not an external ID".into(),
        "use the text after `sts:ExternalId` in the role's trust policy: 2 to 1224 letters (a-z, A-Z), digits and \
         `_+=,.@:/-`"
            .into(),
    ))
}
