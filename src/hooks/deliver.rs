//! Delivers announcements in separate tasks, so that the pass never waits for a hook. There is one queue for the
//! programs and one for the webhook. Each queue delivers one announcement at a time, in order. A full queue or a failed
//! delivery is a warning in the log.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::current_pass::CurrentPass;
use super::event::{Announcement, HookOrigin, PassState};
use super::webhook::Webhook;
use crate::clock::Clock;
use crate::machine::Random;
use crate::plan::{HookEvent, HookOptions};
use crate::program::Program;

/// The maximum number of announcements that wait in one queue. A pass announces a few events, so a full queue means
/// that a hook hangs repeatedly, or that the activity of the pass changes very often.
const MAX_WAITING: usize = 64;

/// If a command was stopped, for example with Ctrl-C, it waits for hooks at its end for at most this time. The operator
/// is waiting for the command.
const AFTER_STOP: Duration = Duration::from_secs(2);

/// The hooks of one session. Clones share the queues. If the plan has no hooks, all methods do nothing.
#[derive(Clone, Default)]
pub struct Hooks(pub(super) Option<Arc<Inner>>);

pub(super) struct Inner {
    pub(super) options: HookOptions,
    pub(super) clock: Clock,
    /// The pass that runs.
    pub(super) pass: Mutex<Option<CurrentPass>>,
    origin: HookOrigin,
    programs: Queue,
    webhook: Option<Queue>,
    failures: Arc<AtomicU64>,
    /// Cancelled when the command has ended and little time is left: see [`Message::can_be_skipped`].
    hurry: CancellationToken,
}

/// An announcement in a queue.
struct Message {
    event: HookEvent,
    document: String,
    text: String,
}

impl Message {
    /// Returns whether the message only reports that a pass begins, is stalled or is paused. Such a message can be
    /// skipped when the command has ended and little time is left. The result of the pass and the next step then matter
    /// more.
    fn can_be_skipped(&self) -> bool {
        match self.event {
            HookEvent::Start | HookEvent::Stall | HookEvent::Pause => true,
            HookEvent::LongThrottling
            | HookEvent::Failures
            | HookEvent::StepDue
            | HookEvent::PassEnd
            | HookEvent::FlagChange => false,
        }
    }
}

/// Delivers one message.
#[async_trait]
trait Deliver: Send + Sync + 'static {
    /// Delivers the message within the time limit.
    ///
    /// # Errors
    ///
    /// Fails with a sentence about what went wrong.
    async fn deliver(&self, message: &Message) -> Result<(), String>;
}

impl Hooks {
    /// Starts the queues, if the plan has hooks. `actor` runs the command. Reads the address of the webhook from the
    /// environment. If this address cannot be used, the log contains a warning, and there is no webhook.
    pub fn start(options: &HookOptions, origin: HookOrigin, clock: Clock, random: Random) -> Hooks {
        if options.programs.is_empty() && options.webhook_env.is_none() {
            return Hooks::default();
        }
        let webhook = options.webhook_env.as_ref().and_then(|variable| match Webhook::from_env(variable, random) {
            Ok(webhook) => Some(webhook),
            Err(error) => {
                tracing::warn!("the webhook {error}. No messages are sent to it");
                None
            }
        });
        Hooks::with_webhook(options, origin, clock, webhook)
    }

    /// Like [`Hooks::start`], but uses this webhook.
    pub fn with_webhook(options: &HookOptions, origin: HookOrigin, clock: Clock, webhook: Option<Webhook>) -> Hooks {
        let failures = Arc::new(AtomicU64::new(0));
        let hurry = CancellationToken::new();
        let programs = Queue::start(Programs(options.clone()), Arc::clone(&failures), hurry.clone());
        let limit = options.timeout;
        let webhook =
            webhook.map(|webhook| Queue::start(Messenger { webhook, limit }, Arc::clone(&failures), hurry.clone()));
        let options = options.clone();
        let pass = Mutex::default();
        Hooks(Some(Arc::new(Inner { options, clock, pass, origin, programs, webhook, failures, hurry })))
    }

    /// Returns whether the plan has hooks that announcements can reach.
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Queues an announcement. Never waits. `pass` is what the pass is doing, if one runs.
    pub fn announce(&self, announcement: &Announcement, pass: Option<&PassState>) {
        let Some(inner) = &self.0 else { return };
        let event = announcement.event();
        let document = announcement.document(&inner.origin, (inner.clock)(), pass);
        let message = Arc::new(Message { event, document, text: announcement.text(&inner.origin, pass) });
        if inner.options.programs.contains_key(&event) {
            inner.programs.push(&message);
        }
        inner.webhook.iter().for_each(|webhook| webhook.push(&message));
    }

    /// Returns the number of announcements of this session whose delivery has failed.
    pub fn failures(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.failures.load(Ordering::Relaxed))
    }

    /// Returns the counter behind [`Hooks::failures`].
    pub fn failure_counter(&self) -> Arc<AtomicU64> {
        self.0.as_ref().map_or_else(Arc::default, |inner| Arc::clone(&inner.failures))
    }

    /// Waits until all announcements are delivered. Waits at most for `most` or the `timeout` in `[hooks]`, whichever
    /// is shorter. When `stopping` ends, waits at most 2 s longer. After half of this time, if more announcements are
    /// waiting, skips announcements that a pass begins, is stalled or is paused. So even if a hook hangs, there is time
    /// for more important announcements. Announcements that are not delivered in time are lost, and the log contains a
    /// warning. Announcements that are made after this call are lost, too.
    pub async fn drain(&self, most: Duration, stopping: impl Future<Output = ()>) {
        let Some(inner) = &self.0 else { return };
        let limit = inner.options.timeout.min(most);
        let stopping = stopping.shared();
        let time_is_up = |divisor| {
            let stopping = stopping.clone();
            async move {
                tokio::select! {
                    () = tokio::time::sleep(limit / divisor) => {}
                    () = async { stopping.await; tokio::time::sleep(AFTER_STOP / divisor).await } => {}
                }
            }
        };
        let end = time_is_up(1).shared();
        let hurry = async {
            time_is_up(2).await;
            inner.hurry.cancel();
            std::future::pending::<()>().await;
        };
        let webhook = async {
            if let Some(webhook) = &inner.webhook {
                webhook.drain(end.clone()).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(inner.programs.drain(end.clone()), webhook) } => {}
            () = hurry => {}
        }
    }
}

impl Inner {
    pub(super) fn pass(&self) -> MutexGuard<'_, Option<CurrentPass>> {
        lock(&self.pass)
    }
}

/// A queue, and the task that delivers its messages.
struct Queue {
    messages: Mutex<Option<mpsc::Sender<Arc<Message>>>>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Number of messages that are not delivered yet.
    waiting: Arc<AtomicUsize>,
    failures: Arc<AtomicU64>,
}

impl Queue {
    fn start(deliver: impl Deliver, failures: Arc<AtomicU64>, hurry: CancellationToken) -> Queue {
        let (sender, mut receiver) = mpsc::channel::<Arc<Message>>(MAX_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (left, failed) = (Arc::clone(&waiting), Arc::clone(&failures));
        let task = tokio::spawn(async move {
            while let Some(message) = receiver.recv().await {
                let give_up = async {
                    hurry.cancelled().await;
                    // The last message delays no other message, so do not skip it.
                    if left.load(Ordering::Relaxed) < 2 {
                        std::future::pending::<()>().await;
                    }
                };
                let delivered = tokio::select! {
                    biased;
                    () = give_up, if message.can_be_skipped() => Err(format!(
                        "the announcement `{}` was given up, because the command has ended and waits only briefly",
                        message.event.name()
                    )),
                    delivered = deliver.deliver(&message) => delivered,
                };
                if let Err(problem) = delivered {
                    failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(event = message.event.name(), "{problem}. The migration continues");
                }
                left.fetch_sub(1, Ordering::Relaxed);
            }
        });
        let task = Mutex::new(Some(AbortOnDropHandle::new(task)));
        Queue { messages: Mutex::new(Some(sender)), task, waiting, failures }
    }

    fn push(&self, message: &Arc<Message>) {
        let messages = lock(&self.messages);
        let Some(messages) = messages.as_ref() else { return };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if messages.try_send(Arc::clone(message)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                event = message.event.name(),
                "an announcement was dropped, because {MAX_WAITING} announcements wait for hooks that are slow or hang"
            );
        }
    }

    /// Waits until all messages are delivered, or until `end`.
    async fn drain(&self, end: impl Future<Output = ()>) {
        lock(&self.messages).take();
        let Some(mut task) = lock(&self.task).take() else { return };
        let began = Instant::now();
        let is_delivered = tokio::select! {
            biased;
            _ = &mut task => true,
            () = end => false,
        };
        if !is_delivered {
            task.abort();
            // Wait until the task has killed the program that it runs, because this process can end soon.
            let _ = task.await;
            let lost = self.waiting.load(Ordering::Relaxed);
            self.failures.fetch_add(lost as u64, Ordering::Relaxed);
            tracing::warn!(
                "{lost} announcements were not delivered within {:.1} s after the end of the command. A command waits \
                 at most for the `timeout` in [hooks], and only briefly after a stop, after an error and on the way back",
                began.elapsed().as_secs_f64()
            );
        }
    }
}

/// Runs the programs of `[hooks]`.
struct Programs(HookOptions);

#[async_trait]
impl Deliver for Programs {
    async fn deliver(&self, message: &Message) -> Result<(), String> {
        let Some(argv) = self.0.programs.get(&message.event) else { return Ok(()) };
        let program = Program {
            argv,
            input: Some(message.document.clone()),
            environment: vec![("BACKFILL_EVENT", message.event.name().to_owned())],
            limit: self.0.timeout,
        };
        let ended = program.run().await.map(drop);
        ended.map_err(|error| format!("the hook `{}` ({:?}) {error}", message.event.field(), Program::name(argv)))
    }
}

/// Sends messages to the webhook.
struct Messenger {
    webhook: Webhook,
    limit: Duration,
}

#[async_trait]
impl Deliver for Messenger {
    async fn deliver(&self, message: &Message) -> Result<(), String> {
        let sent = self.webhook.send(&message.text, self.limit).await;
        sent.map_err(|error| format!("the webhook {error}, so it got no message about `{}`", message.event.name()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests;
