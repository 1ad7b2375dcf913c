//! A disk with a stopwatch.

use std::{fs::File, io, sync::Arc, time::Instant};

use strongroom_core::Durations;

use super::trail::Disk;

/// How long a trail's operations took, those that failed included.
#[derive(Default)]
pub(super) struct Took {
    pub(super) writes: Durations,
    pub(super) syncs: Durations,
}

pub(super) struct Timed<D> {
    disk: D,
    took: Arc<Took>,
}

impl<D: Disk> Timed<D> {
    pub(super) fn new(disk: D) -> (Self, Arc<Took>) {
        let took = Arc::new(Took::default());
        let timed = Self {
            disk,
            took: Arc::clone(&took),
        };
        (timed, took)
    }
}

impl<D: Disk> Disk for Timed<D> {
    fn append(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let began = Instant::now();
        let done = self.disk.append(file, bytes);
        self.took.writes.note(began.elapsed());
        done
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let began = Instant::now();
        let done = self.disk.sync(file);
        self.took.syncs.note(began.elapsed());
        done
    }
}
