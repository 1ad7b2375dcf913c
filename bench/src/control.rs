//! What the machine does by itself meanwhile: how long a sync takes that has nothing to do with the servers, and how much
//! processor time others were given. It tells what is the machine's in a figure that is not flat.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::usage;

/// Between two syncs: seldom enough to cost the servers nothing.
const PAUSE: Duration = Duration::from_millis(20);
const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;

/// What was seen since the last look.
pub(crate) struct Seen {
    /// The longest sync.
    pub(crate) sync: Duration,
    /// The share of all processors' time that the host gave to others, 0 to 1.
    pub(crate) steal: f64,
}

/// A thread that writes one block of a file of its own and syncs it, now and then. Dropped, it ends.
pub(crate) struct Control {
    longest: Arc<Mutex<Duration>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    times: usage::Times,
}

impl Control {
    /// Starts it, with a file in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let file = File::create(dir.join("control"))?;
        file.write_all_at(&[0; BLOCK * BLOCKS as usize], 0)?;
        file.sync_all()?;
        let longest = Arc::<Mutex<Duration>>::default();
        let ended = Arc::<AtomicBool>::default();
        let (seen, end) = (Arc::clone(&longest), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for number in (0..BLOCKS).cycle() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                file.write_all_at(&[1; BLOCK], number * BLOCK as u64)?;
                file.sync_data()?;
                let mut longest = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *longest = began.elapsed().max(*longest);
                drop(longest);
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        Ok(Self {
            longest,
            ended,
            thread: Some(thread),
            times: usage::times()?,
        })
    }

    /// What was seen since the last time.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) fn look(&mut self) -> Result<Seen> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let thread = self.thread.take().context("the control has failed")?;
            let ended = thread.join().map_err(|_| anyhow!("the control panicked"))?;
            ended.context("the control's file")?;
        }
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = usage::times()?;
        let before = std::mem::replace(&mut self.times, now);
        Ok(Seen {
            sync: std::mem::take(&mut *longest),
            steal: self.times.steal_since(&before),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it failed with, the last look would have told.
            let _ = thread.join();
        }
    }
}
