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

pub(super) struct Timed {
    disk: Box<dyn Disk>,
    pub(super) took: Took,
}

impl Timed {
    pub(super) fn new(disk: impl Disk) -> Arc<Self> {
        Arc::new(Self {
            disk: Box::new(disk),
            took: Took::default(),
        })
    }
}

impl Disk for Timed {
    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let began = Instant::now();
        let done = self.disk.append(file, bytes);
        self.took.writes.note(began.elapsed());
        done
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let began = Instant::now();
        let done = self.disk.sync(file);
        self.took.syncs.note(began.elapsed());
        done
    }
}
