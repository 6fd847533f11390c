//! Pauses a pass while the plan's pause file exists.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{PauseSource, PauseSwitch};

/// The time between two checks of the file.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The time within which the file system must answer. A network file system may hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches a pause file until it is dropped. The pause of the file then ends.
pub(super) struct PauseFile {
    pause: PauseSwitch,
    _task: AbortOnDropHandle<()>,
}

impl PauseFile {
    /// Starts to watch the file. When this function returns, the file has been checked once.
    pub(super) async fn watch(path: PathBuf, pause: PauseSwitch) -> PauseFile {
        look(&path, &pause).await;
        let switch = pause.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                look(&path, &switch).await;
            }
        });
        PauseFile { pause, _task: AbortOnDropHandle::new(task) }
    }
}

impl Drop for PauseFile {
    fn drop(&mut self) {
        self.pause.resume(PauseSource::File);
    }
}

/// Pauses if the file exists. If the tool cannot find out, it pauses too: somebody may want the pause.
async fn look(path: &PathBuf, pause: &PauseSwitch) {
    let found = timeout(PATIENCE, tokio::fs::symlink_metadata(path)).await;
    match found.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))) {
        Ok(_) => pause.pause(PauseSource::File, format!("the file {} exists", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => pause.resume(PauseSource::File),
        Err(error) => {
            pause.pause(PauseSource::File, format!("the pause file {} cannot be checked: {error}", path.display()));
        }
    }
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

    #[tokio::test]
    async fn a_file_that_cannot_be_checked_pauses() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let pause = PauseSwitch::default();
        let _watched = PauseFile::watch(dir.path().join("file/pause"), pause.clone()).await;
        assert!(pause.paused().unwrap().contains("cannot be checked"), "{:?}", pause.paused());
    }
}
