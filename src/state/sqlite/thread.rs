//! The thread that writes to the state file. The thread commits requests in groups. After a failure of the file, the
//! thread stores nothing more.

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::deleted;
use super::error::{StateFileError, io_error};
use super::lock::Lock;
use super::owned::{OwnedFile, increment_commit_count};

/// The maximum number of requests that wait for the thread. While a commit runs, the queue has room for one request of
/// each active segment. If the queue is full, callers wait. So the scan is limited to the speed of the disk.
const QUEUE_CAPACITY: usize = 256;

/// The maximum number of requests in one transaction. This number equals the size of the queue, so that no request
/// waits for more than two commits.
const MAX_GROUP_SIZE: usize = QUEUE_CAPACITY;

/// The handle to the thread. Dropping the handle finishes pending requests, closes the file and releases the lock.
#[derive(Debug)]
pub(super) struct StoreThread {
    sender: Option<mpsc::Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

enum Message {
    Request(Box<dyn Request>),
    PurgeJournal(oneshot::Sender<Result<u64, StoreError>>),
    Close(oneshot::Sender<()>),
}

/// One request. The thread executes the request inside the transaction of the request's group. The thread returns the
/// result after this transaction has succeeded or failed.
trait Request: Send {
    fn apply(&mut self, connection: &Connection) -> Result<(), StateFileError>;
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct QueuedRequest<T, F> {
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for QueuedRequest<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, StateFileError> + Send,
{
    fn apply(&mut self, connection: &Connection) -> Result<(), StateFileError> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let answer = match (result, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(StoreError::Io("a request to the state file was never carried out".to_owned())),
            (Err(error), _) => Err(error),
        };
        // Ignore a failure, because it means that the caller no longer waits for the result.
        let _ = self.reply.send(answer);
    }
}

impl StoreThread {
    pub(super) fn start(owned: OwnedFile) -> Result<StoreThread, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let path = owned.path.clone();
        let writer = StoreWriter { owned, fatal_error: None };
        let thread = thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || writer.serve(receiver))
            .map_err(|e| io_error(&path, "start the writer thread for", &e))?;
        Ok(StoreThread { sender: Some(sender), thread: Mutex::new(Some(thread)), path })
    }

    /// Runs `work` in a transaction. When this method returns `Ok`, the changes of `work` are durable. If this future
    /// is dropped, `work` may still run, but its result is lost.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StateFileError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Request(Box::new(QueuedRequest { work: Some(work), value: None, reply }))).await?;
        answer.await.map_err(|_| self.closed_error())?
    }

    /// Finishes pending requests, then deletes every pre-image from the file and its log.
    pub(super) async fn purge_journal(&self) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::PurgeJournal(reply)).await?;
        answer.await.map_err(|_| self.closed_error())?
    }

    /// Finishes pending requests, then closes the file and releases the lock.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Close(reply)).await?;
        answer.await.map_err(|_| self.closed_error())
    }

    async fn send(&self, message: Message) -> Result<(), StoreError> {
        let sender = self.sender.as_ref().ok_or_else(|| self.closed_error())?;
        sender.send(message).await.map_err(|_| self.closed_error())
    }

    fn closed_error(&self) -> StoreError {
        StoreError::Io(format!(
            "the state file {} is closed. The current change may not be stored. Run the same command again: it resumes from \
             the last checkpoint.",
            self.path.display()
        ))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.sender = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        // Wait for the end of the thread, so that the lock is released before the owner continues. A thread that
        // panicked has already reported the panic.
        let _ = thread.map(JoinHandle::join);
    }
}

struct StoreWriter {
    owned: OwnedFile,
    /// The first error that makes further storing unsafe. After such an error, every request fails.
    fatal_error: Option<StoreError>,
}

impl StoreWriter {
    fn serve(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = receiver.blocking_recv() else { break };
            let mut group = Vec::new();
            let mut purge = None;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Request(request) => group.push(request),
                    Message::PurgeJournal(reply) => purge = Some(reply),
                    Message::Close(reply) => closing = Some(reply),
                }
                let is_full = closing.is_some() || purge.is_some() || group.len() >= MAX_GROUP_SIZE;
                next = if is_full { None } else { receiver.try_recv().ok() };
            }
            self.commit_group(group);
            if let Some(reply) = purge {
                let _ = reply.send(self.purge_journal());
            }
        }
        // Requests that are still in the queue fail, because the file is now closed.
        drop(receiver);
        self.finish();
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Executes all requests in one transaction, and returns a result for each of them. If one request is refused, only
    /// that request's changes are undone. If the file fails, the changes of all requests are undone, and nothing more
    /// is stored, because SQLite's memory and the disk may now differ.
    fn commit_group(&mut self, mut group: Vec<Box<dyn Request>>) {
        if self.fatal_error.is_none() {
            match self.apply_group(&mut group) {
                Ok(results) => {
                    return group.into_iter().zip(results).for_each(|(request, result)| request.answer(result));
                }
                Err(failed) => self.fail_permanently(failed),
            }
        }
        for request in group {
            request.answer(Err(if let Some(StoreError::Corrupt(why)) = &self.fatal_error {
                StoreError::Corrupt(why.clone())
            } else {
                StoreError::Broken(self.fatal_error.as_ref().map(StoreError::to_string).unwrap_or_default())
            }));
        }
    }

    fn apply_group(&mut self, group: &mut [Box<dyn Request>]) -> Result<Vec<Result<(), StoreError>>, StateFileError> {
        let OwnedFile { connection, lock, path } = &mut self.owned;
        let mut results = Vec::with_capacity(group.len());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let changes = connection.total_changes();
        // With a savepoint, SQLite copies every page that a request changes. A request that is alone in its group needs
        // no savepoint: if it is refused, the transaction is rolled back.
        if let [request] = group {
            return match request.apply(connection) {
                Ok(()) => {
                    commit(connection, lock, changes)?;
                    Ok(vec![Ok(())])
                }
                Err(failed) if failed.is_fatal() => Err(failed),
                Err(failed) => {
                    connection.execute_batch("ROLLBACK")?;
                    Ok(vec![Err(failed.explain(path, "storing progress"))])
                }
            };
        }
        for request in group {
            connection.execute_batch("SAVEPOINT request")?;
            match request.apply(connection) {
                Ok(()) => results.push(Ok(())),
                Err(failed) if failed.is_fatal() => return Err(failed),
                Err(failed) => {
                    connection.execute_batch("ROLLBACK TO request")?;
                    results.push(Err(failed.explain(path, "storing progress")));
                }
            }
            connection.execute_batch("RELEASE request")?;
        }
        commit(connection, lock, changes)?;
        Ok(results)
    }

    fn purge_journal(&mut self) -> Result<u64, StoreError> {
        if let Some(failed) = &self.fatal_error {
            return Err(StoreError::Broken(failed.to_string()));
        }
        let OwnedFile { connection, lock, path } = &mut self.owned;
        let delete = || -> Result<_, StateFileError> {
            connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let values = deleted::delete_pre_images(connection)?;
            let commit_count = increment_commit_count(connection)?;
            connection.execute_batch("COMMIT")?;
            Ok((values, commit_count))
        };
        match delete() {
            Ok((values, commit_count)) => {
                lock.write_commit_count(commit_count);
                let erased = deleted::erase_deleted(connection);
                erased.map(|()| values).map_err(|failed| failed.explain(path, "purging the journal"))
            }
            Err(failed) => {
                // Ignore an error, because there may be no open transaction.
                let _ = connection.execute_batch("ROLLBACK");
                Err(failed.explain(path, "purging the journal"))
            }
        }
    }

    fn fail_permanently(&mut self, failed: StateFileError) {
        self.fatal_error = Some(failed.explain(&self.owned.path, "storing progress"));
        // Ignore an error, because SQLite may already have rolled back, and closing the file also rolls back.
        let _ = self.owned.connection.execute_batch("ROLLBACK");
    }

    /// Closes the file and releases the lock. After a failure of the file, leaves the file's log unchanged for the next
    /// process.
    fn finish(self) {
        if self.fatal_error.is_none() {
            self.owned.close();
        }
    }
}

/// Commits the transaction. `changes` is the number of changed rows before the transaction. If this number has not
/// changed, there is nothing to sync.
fn commit(connection: &Connection, lock: &mut Lock, changes: u64) -> Result<(), StateFileError> {
    let changed = connection.total_changes() != changes;
    let commit_count = if changed { Some(increment_commit_count(connection)?) } else { None };
    connection.execute_batch("COMMIT")?;
    commit_count.into_iter().for_each(|commit_count| lock.write_commit_count(commit_count));
    Ok(())
}
