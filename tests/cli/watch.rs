//! Tests `status --watch` in a pseudo-terminal, which `script` creates.
#![cfg(all(feature = "watch", target_os = "linux"))]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};

use super::{setup, text};
use crate::harness::Harness;
use crate::harness::tool::{RunningTool, SECRET, tool};

/// The maximum time of every wait. It is long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sequences that enter and leave the alternate screen.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A terminal in which the view runs.
struct Watching {
    child: Child,
    keys: ChildStdin,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Watching {
    /// Starts the view in a terminal of this size. After the view has ended, the terminal shows the exit code, and
    /// whether its settings are unchanged.
    fn start(harness: &Harness, plan: &Path, (columns, rows): (u16, u16), more: &str) -> Watching {
        let tool = harness.command();
        let program = tool.get_program().to_str().unwrap();
        let script = format!(
            "stty cols {columns} rows {rows}; before=$(stty -g); \
             sh -c 'echo pid=$$; exec {program} status {} --watch {more}'; \
             echo exit=$?; test \"$before\" = \"$(stty -g)\" && echo restored",
            text(plan)
        );
        let mut command = Command::new("script");
        for (name, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        command.args(["--quiet", "--flush", "--command", &script, "/dev/null"]).current_dir(harness.dir());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("this test needs `script` from util-linux");
        let keys = child.stdin.take().unwrap();
        let mut out = child.stdout.take().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut part) {
                seen.lock().unwrap().extend_from_slice(&part[..read]);
            }
        });
        Watching { child, keys, written }
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until the screen shows this text.
    fn wait_for(&self, text: &str) {
        self.wait(text, || Grid::of(&self.raw()).text());
    }

    /// Waits until the terminal has received this text outside the alternate screen.
    fn wait_for_line(&self, text: &str) {
        self.wait(text, || self.raw());
    }

    fn wait(&self, text: &str, seen: impl Fn() -> String) {
        let began = Instant::now();
        while !seen().contains(text) {
            assert!(began.elapsed() < PATIENCE, "{text:?} is not in {}", seen());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn pid(&self) -> Pid {
        self.wait_for_line("pid=");
        let text = self.raw();
        let digits: String = text.split_once("pid=").unwrap().1.chars().take_while(char::is_ascii_digit).collect();
        Pid::from_raw(digits.parse().unwrap())
    }

    /// Waits until the view has ended with this exit code. Checks that the terminal's settings are unchanged.
    fn ends(mut self, code: i32) -> String {
        self.wait_for_line("exit=");
        self.wait_for_line("restored");
        self.child.wait().unwrap();
        let raw = self.raw();
        assert!(raw.contains(&format!("exit={code}")), "{raw}");
        let (entered, left) = (raw.find(ENTER).unwrap(), raw.rfind(LEAVE).unwrap());
        assert!(entered < left && left < raw.find("exit=").unwrap(), "the view left the alternate screen");
        assert!(!raw.contains(SECRET) && !raw.contains("panicked"), "{raw}");
        raw
    }
}

/// A screen that interprets the view's output: text, line feeds, cursor positions, and the sequences that clear the
/// screen.
#[derive(Default)]
struct Grid {
    rows: Vec<Vec<char>>,
    at: (usize, usize),
}

impl Grid {
    fn of(raw: &str) -> Grid {
        let mut grid = Grid::default();
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            match c {
                '\u{1b}' => {
                    if chars.next() == Some('[') {
                        let mut parameters = String::new();
                        let end = chars.by_ref().find(|c| {
                            parameters.push(*c);
                            ('@'..='~').contains(c)
                        });
                        parameters.pop();
                        grid.obey(end.unwrap_or_default(), &parameters);
                    }
                }
                '\r' => grid.at.1 = 0,
                '\n' => grid.at.0 += 1,
                c => grid.put(c),
            }
        }
        grid
    }

    fn obey(&mut self, command: char, parameters: &str) {
        match (command, parameters) {
            ('H', _) => {
                let mut numbers = parameters.split(';').map(|n| n.parse::<usize>().unwrap_or(1) - 1);
                self.at = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            ('J', "2") | ('h' | 'l', "?1049") => self.rows.clear(),
            // Ignore the sequences that set colours or the cursor's visibility.
            ('m' | 'h' | 'l', _) => {}
            unknown => panic!("the view writes a sequence that this test does not know: {unknown:?}"),
        }
    }

    fn put(&mut self, c: char) {
        let (row, column) = self.at;
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Vec::new());
        }
        let row = &mut self.rows[row];
        if row.len() <= column {
            row.resize(column + 1, ' ');
        }
        row[column] = c;
        self.at.1 += 1;
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| row.iter().collect::<String>()).collect::<Vec<_>>().join("\n")
    }
}

fn start_run(harness: &Harness, plan: &Path) -> RunningTool {
    let mut command = harness.command();
    command.args(["run", text(plan), "--yes", "--output", "json"]);
    let running = RunningTool::start(command);
    let began = Instant::now();
    while harness.proxy().tally().operation("UpdateItem").requests < 50 {
        assert!(began.elapsed() < PATIENCE, "the run does not begin: {}", running.stderr_so_far());
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

fn settings(harness: &Harness, plan: &Path) -> Json {
    tool(harness, &["ctl", "status", text(plan), "--output", "json"]).exits(0).json()["state"].clone()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// RUNBOOK: "`backfill status plan.toml --watch` fills the terminal with a live view"
#[tokio::test(flavor = "multi_thread")]
async fn the_view_steers_a_running_process() {
    let (harness, _, plan) = setup(6_000, "[capacity]\nwrite = 60\n").await;
    tokio::task::block_in_place(|| {
        let running = start_run(&harness, &plan);
        let mut watching = Watching::start(&harness, &plan, (100, 30), "");
        for shown in
            ["Segments: ", "Capacity units per second", "table writes", "Waiting requests", "Events", "waiting for"]
        {
            watching.wait_for(shown);
        }
        watching.press("p");
        wait_until("p pauses", || settings(&harness, &plan)["paused"]["by"].is_string());
        watching.wait_for("paused: by ");
        watching.press("r");
        wait_until("r resumes", || settings(&harness, &plan)["paused"].is_null());
        // One command at a time.
        watching.wait_for("resume: resumed");
        watching.press("w45\r");
        wait_until("w sets a rate", || settings(&harness, &plan)["rate"]["write"] == 45.0);
        watching.wait_for("rate --write 45: new budgets");
        watching.press("?");
        watching.wait_for("ctl rate --plan");
        watching.press("\u{1b}");
        // The ETA is unknown until 2 % of the items are done.
        wait_until("there is an ETA", || settings(&harness, &plan)["pass"]["eta"]["low_s"].is_u64());
        let state = settings(&harness, &plan);
        let pass = &state["pass"];
        assert_eq!(pass["activity"]["state"], state["activity"]["state"], "{pass:#}");
        assert!(pass["items"].as_u64().unwrap() > 0, "{pass:#}");
        watching.press("q");
        let raw = watching.ends(0);
        assert!(raw.contains("\u{1b}[38;5;"), "there are colours: {raw:?}");
        running.signal(Signal::SIGTERM);
        running.end().exits(130);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_shows_a_dead_process_and_restores_the_terminal_after_a_signal() {
    let (harness, _, plan) = setup(1_000, "[capacity]\nwrite = 60\n").await;
    tokio::task::block_in_place(|| {
        let running = start_run(&harness, &plan);
        running.signal(Signal::SIGKILL);
        running.end();
        let mut watching = Watching::start(&harness, &plan, (80, 24), "--color never");
        watching.wait_for("the process died; the next step resumes the run");
        watching.wait_for("backfill run");
        watching.press("+");
        watching.wait_for("no pass is running");
        watching.press("p");
        watching.wait_for("stored: no process works on this migration now");
        assert!(settings(&harness, &plan)["paused"].is_object());
        kill(watching.pid(), Signal::SIGTERM).unwrap();
        let raw = watching.ends(130);
        // Colours 30 to 37 and 90 to 97, in crossterm's notation.
        assert!(!raw.contains("\u{1b}[38;5;"), "{raw:?}");
        // The view also survives a terminal that is too small for its content.
        let mut watching = Watching::start(&harness, &plan, (9, 3), "");
        watching.wait_for("p r");
        watching.press("\u{3}");
        watching.ends(0);
    });
}

/// RUNBOOK: "If the migration has not begun, the view waits for its state file"
#[tokio::test(flavor = "multi_thread")]
async fn the_view_waits_for_the_first_run() {
    let (harness, _, plan) = setup(20, "").await;
    tokio::task::block_in_place(|| {
        let mut watching = Watching::start(&harness, &plan, (100, 30), "");
        watching.wait_for("waiting for the state file .backfill/plan.db");
        watching.wait_for("the migration has not begun");
        tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
        watching.wait_for("run 1 (expand)");
        watching.press("q");
        watching.ends(0);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_the_view_names_the_alternative() {
    let (harness, _, plan) = setup(3, "").await;
    for more in [&[][..], &["--output", "json"]] {
        let refused = tool(&harness, &[&["status", text(&plan), "--watch"], more].concat()).exits(2);
        let said = refused.messages();
        assert!(said.contains("--output json") && said.contains("Nothing was done"), "{said}");
        if !more.is_empty() {
            assert_eq!(refused.json()["error"]["kind"], json!("usage"));
        }
    }
}
