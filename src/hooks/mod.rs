//! The hooks of a plan (`[hooks]`): programs that run when an event happens, a webhook, and a program that can refuse a
//! step.
//!
//! `detect` turns the views of a pass into announcements. `event` turns an announcement into a document and a text, and
//! `deliver` hands them to the program and the webhook. Announcements never delay a pass, and no hook can affect a
//! running pass. Only [`ask_before_step`] can refuse a step. It runs before the command opens the state file.

mod current_pass;
mod deliver;
mod detect;
mod event;
mod pass;
mod veto;
mod webhook;

pub use deliver::Hooks;
pub use detect::{Detector, Sight};
pub use event::{Announcement, BEFORE_STEP, HookOrigin, PassEnding, PassState, step_document};
pub use pass::{EndedBy, PassWatch, is_recent};
pub use veto::{Veto, ask_before_step};
pub use webhook::{Webhook, WebhookError, slack_message};
