//! Pauses a pass while the plan's pause file exists.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{PauseSource, PauseSwitch};

/// The time between two checks of the file.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The time limit for the file system's answer. A network file system can hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches a pause file until this watch is dropped. The file's pause then ends.
pub(super) struct PauseFile {
    pause: FilePause,
    _task: AbortOnDropHandle<()>,
}

/// The pause that the file causes. After the end of the watch, a check that is still running changes nothing.
#[derive(Clone)]
struct FilePause {
    switch: PauseSwitch,
    ended: Arc<Mutex<bool>>,
}

impl FilePause {
    /// Pauses for this reason. Resumes if there is no reason.
    fn set(&self, why: Option<String>) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            _ if *ended => {}
            Some(why) => self.switch.pause(PauseSource::File, why),
            None => self.switch.resume(PauseSource::File),
        }
    }

    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.switch.resume(PauseSource::File);
    }
}

impl PauseFile {
    /// Starts the watch. When this function returns, it has checked the file once.
    pub(super) async fn watch(path: PathBuf, pause: PauseSwitch) -> PauseFile {
        let pause = FilePause { switch: pause, ended: Arc::default() };
        look(&path, &pause).await;
        let watched = pause.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                look(&path, &watched).await;
            }
        });
        PauseFile { pause, _task: AbortOnDropHandle::new(task) }
    }
}

impl Drop for PauseFile {
    fn drop(&mut self) {
        self.pause.end();
    }
}

/// Checks the file, and pauses if the file exists. Also pauses if the check fails, because somebody may want the pause.
async fn look(path: &PathBuf, pause: &FilePause) {
    let found = timeout(PATIENCE, tokio::fs::symlink_metadata(path)).await;
    pause.set(match found.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))) {
        Ok(_) => Some(format!("the file {} exists", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("the pause file {} cannot be checked: {error}", path.display())),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pause_lasts_as_long_as_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        let pause = PauseSwitch::default();
        let watched = PauseFile::watch(path.clone(), pause.clone()).await;
        assert_eq!(pause.paused(), None);
        std::fs::write(&path, "").unwrap();
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!(pause.paused().unwrap(), format!("the file {} exists", path.display()));
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!(pause.paused(), None);
        std::fs::write(&path, "").unwrap();
        let again = PauseFile::watch(path, pause.clone()).await;
        assert!(pause.paused().is_some(), "the first check comes before the pass begins");
        drop((watched, again));
        assert_eq!(pause.paused(), None);
    }

    /// A check can still be running when the pass ends. Its result must not pause the next pass.
    #[tokio::test]
    async fn a_check_that_is_still_running_changes_nothing_after_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        let pause = PauseSwitch::default();
        let watched = PauseFile::watch(path.clone(), pause.clone()).await;
        let late = watched.pause.clone();
        drop(watched);
        std::fs::write(&path, "").unwrap();
        look(&path, &late).await;
        assert_eq!(pause.paused(), None);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_checked_pauses() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let pause = PauseSwitch::default();
        let _watched = PauseFile::watch(dir.path().join("file/pause"), pause.clone()).await;
        assert!(pause.paused().unwrap().contains("cannot be checked"), "{:?}", pause.paused());
    }
}
