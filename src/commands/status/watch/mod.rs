//! `status --watch`: a view of a migration that fills the terminal. It reads the state file and, if a process works on
//! the migration, asks this process. It changes nothing itself, but a key can send a command to the process.

mod data;
mod draw;
mod keys;
mod panels;
mod poll;
mod rows;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backfill::internals::clock::wall_clock;
use backfill::internals::migration::Migration;
use backfill::internals::steering::Command;
use backfill::internals::telemetry::display::glyphs;
use backfill::internals::telemetry::{AccessKind, ScopeKind};
use nix::sys::signal::{Signal, raise};
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::{Global, Output, StatusArgs};
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::{output, terminal as observer};
use data::{FileFigures, Process, WatchData};
use draw::Look;
use keys::{Action, Mode, press};
use rows::Frame;
use terminal::Screen;
use view::view;

/// How long the result of a command is shown.
const MESSAGE_FOR: Duration = Duration::from_secs(10);

/// The interval at which the key reader thread checks whether the view has ended.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// An update of the data that the view shows.
#[derive(Debug)]
enum Update {
    /// The state file was read.
    File(Result<Box<FileFigures>, String>),
    /// There is no state file at this path yet.
    NoFile(String),
    /// The process answered or could not be reached.
    Process(Process),
    /// A command was carried out, or failed.
    Steered(Result<String, String>),
    /// A key press, or a change of the terminal's size.
    Input(Event),
    /// The terminal is gone.
    NoInput(String),
}

/// Shows the view until the operator quits or a signal arrives.
pub(crate) async fn watch(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    if global.output == Output::Json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let instead = observer::commands(global, &args.plan).render("status");
        return Err(Refusal::error(
            Exit::Usage,
            format!(
                "`--watch` needs a terminal on stdin and stdout, and does not work with `--output json`. \
                 Nothing was done. For scripts, run: {instead} --output json"
            ),
        ));
    }
    let migration = Arc::new(observer::open(global, &args.plan, false)?);
    let commands = observer::commands(global, &args.plan);
    let mut interrupted = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let (send, updates) = channel(64);
    let _file = spawn(poll::read_file(Arc::clone(&migration), commands, send.clone()));
    let _process = spawn(poll::ask_process(Arc::clone(&migration), send.clone()));
    let color = global.color.on_stdout();
    // By default, crossterm obeys NO_COLOR. Here the `--color` option decides.
    ratatui::crossterm::style::force_color_output(color);
    let mut watch = Watch {
        migration,
        send: send.clone(),
        screen: Screen::enter()?,
        look: Look { color, glyphs: glyphs() },
        data: WatchData::default(),
        mode: Mode::default(),
        message: None,
        steering: None,
    };
    let _keys = KeyReader::start(send);
    let [terminate, hangup, interrupt] = &mut interrupted;
    let ended = tokio::select! {
        ended = watch.run(updates) => ended,
        () = received(terminate) => Ok(Exit::Interrupted),
        () = received(hangup) => Ok(Exit::Interrupted),
        () = received(interrupt) => Ok(Exit::Interrupted),
    };
    let last = watch.message.take().filter(|(_, failed, _)| *failed);
    drop(watch);
    // The operator might not have seen that the last command failed.
    if let Some((failure, ..)) = last {
        output::warn(&failure);
    }
    Ok(ended?)
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Waits until the signal arrives. Never returns if this process cannot listen for it.
async fn received(signal: &mut std::io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Reads the keys in a separate thread, until this value is dropped.
struct KeyReader(Arc<AtomicBool>);

impl KeyReader {
    fn start(send: Sender<Update>) -> KeyReader {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let read = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let (update, is_last) = match read {
                    Ok(event) => (Update::Input(event), false),
                    Err(error) => (Update::NoInput(error.to_string()), true),
                };
                if send.blocking_send(update).is_err() || is_last {
                    return;
                }
            }
        });
        KeyReader(ended)
    }
}

impl Drop for KeyReader {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The state of the view.
struct Watch {
    migration: Arc<Migration>,
    send: Sender<Update>,
    screen: Screen,
    look: Look,
    data: WatchData,
    mode: Mode,
    /// The result of the last command, whether the command failed, and when the result arrived.
    message: Option<(String, bool, Instant)>,
    /// The command that is being carried out. At most one at a time.
    steering: Option<AbortOnDropHandle<()>>,
}

impl Watch {
    /// Draws the view after each update and once a second, until the operator quits.
    async fn run(&mut self, mut updates: Receiver<Update>) -> std::io::Result<Exit> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut continued = signal(SignalKind::from_raw(Signal::SIGCONT as i32));
        loop {
            self.draw()?;
            let update = tokio::select! {
                update = updates.recv() => update,
                _ = tick.tick() => continue,
                () = received(&mut continued) => {
                    self.screen.reenter()?;
                    continue;
                }
            };
            match update {
                None => return Ok(Exit::Done),
                Some(Update::File(Ok(figures))) => {
                    self.data.file = Some(*figures);
                    self.data.file_error = None;
                    self.data.absent_file = None;
                }
                Some(Update::NoFile(path)) => self.data.absent_file = Some(path),
                Some(Update::File(Err(error))) => self.data.file_error = Some(error),
                Some(Update::Process(process)) => self.data.process = process,
                Some(Update::Steered(result)) => self.answered(result),
                Some(Update::Input(Event::Key(key))) => {
                    let (mode, action) = press(std::mem::take(&mut self.mode), key, self.budget());
                    self.mode = mode;
                    match action {
                        Action::None => {}
                        Action::Quit => {
                            self.finish_steering(&mut updates).await;
                            return Ok(Exit::Done);
                        }
                        Action::Suspend => self.suspend()?,
                        Action::Say(text) => self.say(text.to_owned(), true),
                        Action::Steer(command) => self.steer(command),
                    }
                }
                // The next drawing uses the new size.
                Some(Update::Input(_)) => {}
                Some(Update::NoInput(error)) => return Err(std::io::Error::other(error)),
            }
        }
    }

    /// Returns the table's budget for writes, or the reason why it cannot be changed by a factor.
    fn budget(&self) -> Result<f64, &'static str> {
        const UNKNOWN: &str =
            "no pass is running, so the current rate is not known. Press w to type a rate for the next pass";
        let live = self.data.live().ok_or(UNKNOWN)?;
        // The lowered budget is temporary, so a new rate must not be computed from it.
        if live.slowed_by.is_some() {
            return Err("a health check lowers the budgets temporarily. Press w to type a rate");
        }
        let table = |scope: &&backfill::internals::telemetry::ScopeFigures| {
            scope.scope == ScopeKind::Table && scope.access == AccessKind::Write
        };
        live.scopes.iter().find(table).map(|scope| scope.budget).ok_or(UNKNOWN)
    }

    fn say(&mut self, text: String, failed: bool) {
        self.message = Some((text, failed, Instant::now()));
    }

    fn steer(&mut self, command: Command) {
        if self.steering.is_some() {
            return self.say("the last command has not been answered yet".to_owned(), true);
        }
        self.say(format!("{}: sent", command.words()), false);
        let task = poll::steer(Arc::clone(&self.migration), command, self.send.clone());
        self.steering = Some(spawn(task));
    }

    /// Waits for the answer to a command that the operator gave just before the view ended. A command and its answer
    /// take a few seconds at most.
    async fn finish_steering(&mut self, updates: &mut Receiver<Update>) {
        while self.steering.is_some() {
            match updates.recv().await {
                Some(Update::Steered(result)) => self.answered(result),
                Some(
                    Update::File(_) | Update::NoFile(_) | Update::Process(_) | Update::Input(_) | Update::NoInput(_),
                ) => {}
                None => return,
            }
        }
    }

    fn answered(&mut self, result: Result<String, String>) {
        self.steering = None;
        let failed = result.is_err();
        self.say(result.unwrap_or_else(|error| error), failed);
    }

    /// Restores the terminal and suspends this process, as Ctrl-Z does in a shell.
    fn suspend(&mut self) -> std::io::Result<()> {
        terminal::restore();
        raise(Signal::SIGTSTP)?;
        self.screen.reenter()
    }

    fn draw(&mut self) -> std::io::Result<()> {
        self.message.take_if(|(_, _, at)| at.elapsed() >= MESSAGE_FOR);
        let message = self.message.as_ref().map(|(text, failed, _)| (text.as_str(), *failed));
        let (data, mode, look) = (&self.data, &self.mode, self.look);
        self.screen.terminal.draw(|screen| {
            let width = usize::from(screen.area().width);
            let panel_width = draw::panel_width(width);
            let frame = Frame { now: wall_clock()(), mode, message, width, panel_width, glyphs: &look.glyphs };
            draw::draw(screen, &view(data, frame), look);
        })?;
        Ok(())
    }
}
