//! The writer: one thread that owns the end of the log, and group commit.
//!
//! Requests that queue up while a sync runs share the next one. After the sync the frames are given to the [`Sink`],
//! then the answers go out: an answer means durable and visible.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use schemas::LogPosition;
use schemas::gap::Gap;
use tokio::sync::oneshot;

use super::frame::Frame;
use super::replay::Replayed;
use super::segment::{
    GROUP_HEADER, GroupHeader, PAGE, Prepared, SEGMENT_HEADER, SegmentHeader, prepare, sync_dir, write_at,
};
use crate::error::{Error, Result};
use crate::handle::Components;
use crate::room::Room;
use crate::settings::Durability;

/// Most requests that wait for the writer; more are refused.
const QUEUE: usize = 4096;
/// A group is closed at this size, bytes.
const GROUP_BYTES: usize = 8 << 20;

/// Takes frames that are durable.
pub(crate) trait Sink: Send + 'static {
    /// Frames `first..`, in order, at once.
    fn apply(&mut self, first: LogPosition, frames: Vec<Frame>);
    /// No frame of this batch became durable; its definitions are still pending.
    fn failed(&mut self, frames: &[Frame]) {
        let _ = frames;
    }
}

/// A request to append a frame; answered with its position.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) frame: Frame,
    pub(crate) answer: oneshot::Sender<Result<LogPosition>>,
}

#[derive(Debug)]
enum Message {
    Append(Append),
    /// Frames up to here are in history: their segments may go.
    Truncate(LogPosition, oneshot::Sender<()>),
}

/// Settings of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
}

/// The door to the writer. When the last one is dropped, the writer ends.
#[derive(Debug, Clone)]
pub(crate) struct LogHandle {
    messages: SyncSender<Message>,
}

impl LogHandle {
    /// Queues a frame.
    ///
    /// # Errors
    /// The queue is full, or the writer has ended.
    pub(crate) fn append(&self, append: Append) -> Result<()> {
        self.messages.try_send(Message::Append(append)).map_err(|e| match e {
            TrySendError::Full(_) => Error::Overloaded { reason: "the log's queue is full", retry_after_s: 1 },
            TrySendError::Disconnected(_) => Error::Closed,
        })
    }

    /// Deletes segments whose frames are all at or before `position`. Returns when that is done.
    pub(crate) async fn truncate(&self, position: LogPosition) {
        let (done, wait) = oneshot::channel();
        let messages = self.messages.clone();
        let sent = tokio::task::spawn_blocking(move || messages.send(Message::Truncate(position, done)).is_ok()).await;
        if sent.unwrap_or(false) {
            // The writer may end first; then its segments are truncated after the next start.
            let _ = wait.await;
        }
    }
}

/// Starts the writer behind what was replayed.
pub(crate) fn spawn(
    settings: LogSettings,
    replayed: Replayed,
    sink: impl Sink,
    components: Components,
) -> Result<(LogHandle, JoinHandle<()>)> {
    let (messages, queue) = sync_channel(QUEUE);
    let mut writer = Writer::open(settings, replayed, sink, components)?;
    let thread = std::thread::Builder::new().name("weir-log".to_owned());
    let thread = thread
        .spawn(move || {
            writer.run(&queue);
            writer.wait_for_spare();
        })
        .map_err(|e| Error::io("can't start the log's thread", e))?;
    Ok((LogHandle { messages }, thread))
}

struct Current {
    file: Prepared,
    salt: u64,
    /// Where the next group goes.
    end: u64,
    /// Up to where everything is synced.
    durable: u64,
    header: Option<Vec<u8>>,
    synced_at: Instant,
}

struct Writer<S> {
    next: LogPosition,
    closed: Vec<(PathBuf, LogPosition)>,
    /// Number and durable end of the segment before the current one.
    previous: (u64, u64),
    current: Option<Current>,
    spare: Option<JoinHandle<Result<Prepared>>>,
    settings: LogSettings,
    sink: S,
    components: Components,
    unsynced: Unsynced,
    buffer: Vec<u8>,
}

/// The last frames, written but not synced, in interval mode alone. They were acknowledged: where their segment fails they
/// begin the next one, as no position may be missing behind it.
#[derive(Debug, Default)]
struct Unsynced {
    frames: u64,
    bytes: Vec<u8>,
}

impl<S: Sink> Writer<S> {
    /// A writer behind what was replayed, all of which is durable then.
    fn open(settings: LogSettings, mut replayed: Replayed, sink: S, components: Components) -> Result<Self> {
        drop_what_history_outran(&mut replayed)?;
        sync_last(&settings.dir, &replayed)?;
        let writer = Self {
            next: replayed.last.next(),
            closed: replayed.segments,
            previous: (replayed.last_segment, replayed.last_end),
            current: None,
            spare: None,
            settings,
            sink,
            components,
            unsynced: Unsynced::default(),
            buffer: Vec::new(),
        };
        writer.remove_unused()?;
        Ok(writer)
    }

    fn run(&mut self, queue: &Receiver<Message>) {
        loop {
            let message = match self.receive(queue) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.sync_if_due(Duration::ZERO);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.sync_if_due(Duration::ZERO),
            };
            match message {
                Message::Truncate(position, done) => {
                    self.truncate(position);
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Message::Append(first) => {
                    let (group, truncate) = collect_group(first, queue);
                    if !self.commit(group) {
                        return;
                    }
                    if let Some((position, done)) = truncate {
                        self.truncate(position);
                        let _ = done.send(());
                    }
                }
            }
        }
    }

    /// A segment that is still being prepared would be put over that of the same number of the next life.
    fn wait_for_spare(&mut self) {
        if self.spare.take().is_some_and(|spare| spare.join().is_err()) {
            tracing::error!("preparing a log segment panicked");
        }
    }

    fn receive(&self, queue: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.settings.durability {
            Durability::Interval(interval) if self.unsynced.frames > 0 => queue.recv_timeout(interval),
            _ => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Writes, syncs, applies and answers one group. False when the writer must end.
    fn commit(&mut self, group: Vec<Append>) -> bool {
        let (frames, answers): (Vec<Frame>, Vec<_>) = group.into_iter().map(|a| (a.frame, a.answer)).unzip();
        let first = self.next;
        if let Err(error) = self.write(&frames) {
            self.fail(&error);
            self.sink.failed(&frames);
            let (full, text) = (error.is_full(), error.to_string());
            let refusal = || if full { Error::Full } else { Error::Log(text.clone()) };
            answers.into_iter().for_each(|answer| drop(answer.send(Err(refusal()))));
            return true;
        }
        self.next = LogPosition(first.0 + frames.len() as u64);
        // Not before: a segment that fails here ends with the frame before those that are unsynced.
        if let Durability::Interval(interval) = self.settings.durability {
            let full = self.unsynced.bytes.len() >= GROUP_BYTES;
            self.sync_if_due(if full { Duration::ZERO } else { interval });
        }
        self.components.metrics.frames.inc_by(frames.len() as u64);
        if self.components.gaps.reached(Gap::LogSynced).is_err() {
            return false;
        }
        self.sink.apply(first, frames);
        for (i, answer) in (0..).zip(answers) {
            // Whoever asked may have gone; the reading counts all the same.
            drop(answer.send(Ok(LogPosition(first.0 + i))));
        }
        true
    }

    /// Ends the segment after a failure; what it holds durably stays.
    fn fail(&mut self, error: &Error) {
        // That the reserve is not touched is no failure of the log, and was told where it was found.
        if !matches!(error, Error::Full) {
            self.components.metrics.log_failures.inc();
            tracing::error!(%error, "the log failed; the segment ends here");
        }
        self.abandon_segment();
    }

    /// Writes the frames, behind those that a failed segment owes, and syncs them where that is not left to an interval.
    fn write(&mut self, frames: &[Frame]) -> Result<()> {
        let len_max: usize = frames.iter().map(Frame::encoded_len_max).sum();
        self.ensure_room((GROUP_HEADER + len_max) as u64)?;
        let Self { current, buffer, settings, unsynced, next, .. } = self;
        let current = current.as_mut().expect("room was made");
        let owed = if current.header.is_some() { unsynced.frames } else { 0 };
        let count = u32::try_from(owed + frames.len() as u64).expect("groups and what is unsynced are bounded");
        let first = LogPosition(next.0 - owed);
        buffer.clear();
        // The first group takes the segment's header along: its page is written at once.
        buffer.extend_from_slice(current.header.as_deref().unwrap_or_default());
        let (start, group) = (current.end - buffer.len() as u64, buffer.len());
        buffer.resize(group + GROUP_HEADER, 0);
        if owed > 0 {
            buffer.extend_from_slice(&unsynced.bytes);
        }
        let new = buffer.len();
        frames.iter().for_each(|frame| frame.encode(buffer));
        let len = (buffer.len() - group - GROUP_HEADER) as u64;
        let header = GroupHeader { len, first, frames: count, durable: current.durable };
        buffer[group..group + GROUP_HEADER].copy_from_slice(&header.encode(current.salt));
        let (end, written) = (start + buffer.len() as u64, buffer.len());
        // Zeros up to the page's end, which are there already: a page that is written in part is read first.
        buffer.resize((end.next_multiple_of(PAGE) - start) as usize, 0);
        let failed = |e| Error::io(format!("can't write {}", current.file.path.display()), e);
        write_at(&current.file.file, buffer, start).map_err(failed)?;
        current.header = None;
        current.end = end;
        match settings.durability {
            Durability::Sync => self.sync(),
            Durability::Interval(_) => {
                unsynced.frames += frames.len() as u64;
                unsynced.bytes.extend_from_slice(&buffer[new..written]);
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> Result<()> {
        let Some(current) = self.current.as_mut().filter(|c| c.durable < c.end) else { return Ok(()) };
        let started = Instant::now();
        let synced = current.file.file.sync_data();
        synced.map_err(|e| Error::io(format!("can't sync {}", current.file.path.display()), e))?;
        self.components.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        current.durable = current.end;
        current.synced_at = started;
        self.unsynced.frames = 0;
        self.unsynced.bytes.clear();
        Ok(())
    }

    /// In interval mode: syncs when the last sync is older than `interval`. What a failed segment owes is written first.
    fn sync_if_due(&mut self, interval: Duration) {
        let waited = self.current.as_ref().is_none_or(|c| c.synced_at.elapsed() >= interval);
        if self.unsynced.frames == 0 || !waited {
            return;
        }
        let written = if self.current.is_some() { Ok(()) } else { self.write(&[]) };
        if let Err(error) = written.and_then(|()| self.sync()) {
            self.fail(&error);
        }
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<()> {
        if self.current.as_ref().is_some_and(|c| c.end + bytes <= c.file.capacity) {
            return Ok(());
        }
        self.sync()?;
        self.abandon_segment();
        let number = self.previous.0 + 1;
        let needed = SEGMENT_HEADER + bytes + self.unsynced.bytes.len() as u64;
        let spare = self.spare.take().and_then(|spare| spare.join().ok()).and_then(Result::ok);
        let file = match spare.filter(|s| s.capacity >= needed && s.number == number) {
            Some(spare) => spare,
            None => self.prepare(number, needed, Room::check_for)()?,
        };
        let salt = salt(self.components.clock.now().0, number);
        let first = LogPosition(self.next.0 - self.unsynced.frames);
        let (previous_end, capacity) = (self.previous.1, file.capacity);
        let header = SegmentHeader { number, salt, first, previous_end, capacity }.encode();
        let (end, synced_at) = (SEGMENT_HEADER, Instant::now());
        self.current = Some(Current { file, salt, end, durable: end, header: Some(header), synced_at });
        self.spare = Some(std::thread::spawn(self.prepare(number + 1, 0, Room::check_ahead)));
        Ok(())
    }

    /// How a segment of so many bytes at least is prepared; it is not made from what is kept free on the disk.
    fn prepare(&self, number: u64, needed: u64, check: Check) -> impl FnOnce() -> Result<Prepared> + use<S> {
        let (dir, bytes) = (self.settings.dir.clone(), self.settings.segment_bytes.max(needed));
        let room = Arc::clone(&self.components.room);
        move || {
            check(&room, &dir, bytes)?;
            prepare(&dir, number, bytes)
        }
    }

    /// The current segment takes no more groups (LOG-3). One that holds none keeps its number for the next.
    fn abandon_segment(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.durable > SEGMENT_HEADER {
            self.previous = (current.file.number, current.durable);
            self.closed.push((current.file.path, LogPosition(self.next.0 - self.unsynced.frames - 1)));
        }
    }

    fn truncate(&mut self, position: LogPosition) {
        let (gone, kept) = std::mem::take(&mut self.closed).into_iter().partition(|(_, last)| *last <= position);
        self.closed = kept;
        let gone: Vec<(PathBuf, LogPosition)> = gone;
        for (path, last) in &gone {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "can't delete a log segment; it is tried again");
                self.closed.insert(0, (path.clone(), *last));
            }
        }
        if !gone.is_empty()
            && let Err(error) = sync_dir(&self.settings.dir)
        {
            tracing::warn!(%error, "can't sync the log's directory");
        }
    }

    /// Files that were prepared and never used would stand in the way of their number.
    fn remove_unused(&self) -> Result<()> {
        let failed = |e| Error::io(format!("can't list {}", self.settings.dir.display()), e);
        for entry in std::fs::read_dir(&self.settings.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let used = self.closed.iter().any(|(closed, _)| *closed == path);
            if path.extension().is_some_and(|e| e == "log") && !used {
                std::fs::remove_file(&path).map_err(|e| Error::io(format!("can't delete {}", path.display()), e))?;
            }
        }
        Ok(())
    }
}

/// How a writer asks whether there is room for a segment.
type Check = fn(&Room, &Path, u64) -> Result<()>;

type Waiting = (LogPosition, oneshot::Sender<()>);

/// With an interval, history may have frames that a power cut took from the log. It has the rest of the log, too, which goes:
/// no segment may follow that does not begin where the one before ends.
fn drop_what_history_outran(replayed: &mut Replayed) -> Result<()> {
    if replayed.segments.last().is_none_or(|(_, last)| *last >= replayed.last) {
        return Ok(());
    }
    tracing::warn!(position = replayed.last.0, "the log ends before history does; it goes on behind it");
    for (path, _) in replayed.segments.drain(..) {
        std::fs::remove_file(&path).map_err(|e| Error::io(format!("can't delete {}", path.display()), e))?;
    }
    Ok(())
}

/// Syncs the last segment of the life before: what was killed may not have done so, and the next segment will state that all
/// that was replayed is durable.
fn sync_last(dir: &Path, replayed: &Replayed) -> Result<()> {
    let Some((path, _)) = replayed.segments.last() else { return Ok(()) };
    let synced = File::open(path).and_then(|file| file.sync_data());
    synced.map_err(|e| Error::io(format!("can't sync {}", path.display()), e))?;
    sync_dir(dir)
}

/// All that waits, up to the size of a group, or to a request to truncate.
fn collect_group(first: Append, queue: &Receiver<Message>) -> (Vec<Append>, Option<Waiting>) {
    let mut bytes = first.frame.encoded_len_max();
    let mut group = vec![first];
    while bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Message::Append(next)) => {
                bytes += next.frame.encoded_len_max();
                group.push(next);
            }
            Ok(Message::Truncate(position, done)) => return (group, Some((position, done))),
            Err(_) => break,
        }
    }
    (group, None)
}

/// Differs between lives of a file: the time, mixed with the number.
fn salt(now: i64, number: u64) -> u64 {
    let mixed = (now as u64 ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests;
