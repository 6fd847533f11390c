//! The arguments of `ctl`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `ctl`
#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    #[command(subcommand)]
    pub action: CtlAction,
}

/// `ctl pause|resume|rate|drain|status`
#[derive(Debug, Subcommand)]
pub(crate) enum CtlAction {
    /// Stop reading and writing items until `ctl resume`, even across restarts. If no process is running, the next one
    /// begins paused
    Pause {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
        /// Reason to record; `status` shows it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Continue after a pause. If no process is running, the next one is not paused
    Resume {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
    },
    /// Set the table's rate, even across restarts. If no process is running, the next one uses this rate
    Rate {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
        /// Write capacity units per second
        #[arg(long, value_name = "UNITS", required_unless_present_any = ["read", "plan_rate"])]
        write: Option<f64>,
        /// Read capacity units per second
        #[arg(long, value_name = "UNITS")]
        read: Option<f64>,
        /// Return to the plan's budgets
        #[arg(long = "plan", conflicts_with_all = ["write", "read"])]
        plan_rate: bool,
    },
    /// Stop: finish the requests in flight, commit and end. Refused if no process is running
    Drain {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
    },
    /// Show what the process is doing and why, whether it is paused, the rate, and the last commands with their
    /// operators. Also works if no process is running; changes nothing
    Status {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
    },
}
