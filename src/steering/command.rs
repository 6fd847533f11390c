//! Requests from `ctl` and replies from the process, each one line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The version of the protocol. A process refuses a request of another version.
const PROTOCOL: u32 = 1;

/// A command or a question of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Send no more requests until [`Command::Resume`].
    Pause {
        /// The reason, for the record and for `status`.
        reason: Option<String>,
    },
    /// Continue after a pause.
    Resume,
    /// Replace the plan's budgets for the table. A budget that is `None` stays unchanged.
    Rate {
        /// Write capacity units per second.
        write: Option<f64>,
        /// Read capacity units per second.
        read: Option<f64>,
    },
    /// Return to the plan's budgets.
    PlanRate,
    /// Stop as after SIGTERM: finish the requests in flight, commit and end.
    Drain,
    /// Report the settings and what the pass is doing.
    Status,
}

impl Command {
    /// Describes the command for the record: `rate --write 500`.
    pub fn words(&self) -> String {
        match self {
            Command::Pause { reason: None } => "pause".to_owned(),
            Command::Pause { reason: Some(reason) } => format!("pause --reason {}", shlex_quote(reason)),
            Command::Resume => "resume".to_owned(),
            Command::Rate { write, read } => {
                let option = |name: &str, units: &Option<f64>| units.map(|units| format!(" --{name} {units}"));
                let options = [option("write", write), option("read", read)];
                format!("rate{}", options.into_iter().flatten().collect::<String>())
            }
            Command::PlanRate => "rate --plan".to_owned(),
            Command::Drain => "drain".to_owned(),
            Command::Status => "status".to_owned(),
        }
    }
}

fn shlex_quote(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| "…".to_owned(), |quoted| quoted.into_owned())
}

/// A request to the process that works on a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    version: u32,
    /// The fingerprint of the plan that the operator named. The process refuses a request with a different fingerprint.
    pub plan: String,
    /// Who sends the request: `user@host`.
    pub actor: String,
    /// What to do.
    pub command: Command,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The reason why nothing was done; `None` if the command was carried out.
    pub refused: Option<String>,
    /// What happened, for people.
    pub text: String,
    /// The settings, and what the pass is doing.
    pub state: Json,
}

impl Request {
    /// Creates a request.
    pub fn new(plan: impl Into<String>, actor: impl Into<String>, command: Command) -> Request {
        Request { version: PROTOCOL, plan: plan.into(), actor: actor.into(), command }
    }

    /// Reads a request from a line.
    ///
    /// # Errors
    ///
    /// Returns the reason, for people, if the line is not a request of this version.
    pub fn parse(line: &str) -> Result<Request, String> {
        let json: Json = serde_json::from_str(line).map_err(|_| "the request is not JSON".to_owned())?;
        if json["version"] != PROTOCOL {
            return Err("`ctl` and the running process are different versions of backfill".to_owned());
        }
        serde_json::from_value(json).map_err(|error| format!("the request cannot be read: {error}"))
    }
}

impl Reply {
    /// Returns a reply to a command that was not carried out.
    pub fn refusal(why: impl Into<String>) -> Reply {
        Reply { refused: Some(why.into()), text: String::new(), state: Json::Null }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_and_others_are_refused() {
        for command in [
            Command::Pause { reason: Some("the application is slow".into()) },
            Command::Pause { reason: None },
            Command::Resume,
            Command::Rate { write: Some(500.0), read: None },
            Command::PlanRate,
            Command::Drain,
            Command::Status,
        ] {
            let request = Request::new("abc", "ann@host", command);
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(Request::parse(&line), Ok(request));
        }
        for (line, why) in [
            ("{", "not JSON"),
            (r#"{"version":2,"actor":"a","command":{"command":"resume"}}"#, "different versions"),
            (r#"{"version":1,"plan":"abc","actor":"a","command":{"command":"explode"}}"#, "cannot be read"),
            (r#"{"version":1,"plan":"abc","actor":"a","command":{"command":"resume"},"more":1}"#, "cannot be read"),
        ] {
            let refused = Request::parse(line).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }

    #[test]
    fn a_command_is_recorded_as_it_was_given() {
        let words = |command: Command| command.words();
        assert_eq!(words(Command::Rate { write: Some(500.0), read: Some(2.5) }), "rate --write 500 --read 2.5");
        assert_eq!(words(Command::Pause { reason: Some("too slow".into()) }), "pause --reason 'too slow'");
    }
}
