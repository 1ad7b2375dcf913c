//! What the machine does by itself meanwhile: how long a sync takes that has nothing to do with the servers, and how much
//! processor time others were given. It tells what is the machine's in a figure that is not flat.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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

/// The thread's syncs since the last look.
#[derive(Default)]
struct Syncs {
    longest: Duration,
    /// Since when one is under way.
    began: Option<Instant>,
}

/// A thread that writes one block of a file of its own and syncs it, now and then. Dropped, it ends.
pub(crate) struct Control {
    syncs: Arc<Mutex<Syncs>>,
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
        let syncs = Arc::<Mutex<Syncs>>::default();
        let ended = Arc::<AtomicBool>::default();
        let (seen, end) = (Arc::clone(&syncs), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for number in (0..BLOCKS).cycle() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                lock(&seen).began = Some(began);
                file.write_all_at(&[1; BLOCK], number * BLOCK as u64)?;
                file.sync_data()?;
                let mut syncs = lock(&seen);
                syncs.longest = began.elapsed().max(syncs.longest);
                syncs.began = None;
                drop(syncs);
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        Ok(Self {
            syncs,
            ended,
            thread: Some(thread),
            times: usage::times()?,
        })
    }

    /// What was seen since the last time. A sync that is under way counts as far as it has come: its rest belongs to
    /// the next look.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) fn look(&mut self) -> Result<Seen> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let thread = self.thread.take().context("the control has failed")?;
            let ended = thread.join().map_err(|_| anyhow!("the control panicked"))?;
            ended.context("the control's file")?;
        }
        let mut syncs = lock(&self.syncs);
        let under_way = syncs.began.map(|began| began.elapsed());
        let sync = std::mem::take(&mut syncs.longest).max(under_way.unwrap_or_default());
        drop(syncs);
        let now = usage::times()?;
        let before = std::mem::replace(&mut self.times, now);
        Ok(Seen {
            sync,
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

fn lock(syncs: &Mutex<Syncs>) -> MutexGuard<'_, Syncs> {
    syncs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_of_what_was_since_the_last_and_of_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut control = Control::start(dir.path()).unwrap();
        let hour = Duration::from_secs(3_600);
        lock(&control.syncs).longest = hour;
        let seen = control.look().unwrap();
        assert!(seen.sync >= hour && (0.0..=1.0).contains(&seen.steal));
        assert!(control.look().unwrap().sync < hour, "it was told already");
        control.ended.store(true, Ordering::Relaxed);
        while !control.thread.as_ref().unwrap().is_finished() {
            thread::sleep(PAUSE);
        }
        assert!(
            control.look().is_ok(),
            "a thread that ended without an error"
        );
        lock(&control.syncs).began = Instant::now().checked_sub(hour);
        assert!(control.look().is_err(), "and is no more");
        control.thread = Some(thread::spawn(|| {
            thread::sleep(PAUSE);
            Ok(())
        }));
        assert!(control.look().unwrap().sync >= hour, "it hangs");
        control.thread = Some(thread::spawn(|| Err(io::Error::other("full"))));
        while !control.thread.as_ref().unwrap().is_finished() {
            thread::sleep(PAUSE);
        }
        assert!(control.look().is_err(), "what it failed with is told");
    }
}
