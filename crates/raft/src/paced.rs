//! Writing a large file beside what cannot wait.

use std::{
    fs::File,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

/// What is synced at a time: a sync of all of a snapshot at its end would have the log's wait for megabytes.
const SYNC_BYTES: usize = 1024 * 1024;
/// Longest rest at a time.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// A file whose writer rests after each write for as long as what came before it took. Nodes take their snapshots at
/// the same place of the log, each with what it can get of a processor: so half of it is left.
pub(crate) struct Paced {
    pub(crate) file: File,
    unsynced: usize,
    rested: Instant,
}

impl Paced {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            unsynced: 0,
            rested: Instant::now(),
        }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        thread::sleep(self.rested.elapsed().min(LONGEST_REST));
        self.rested = Instant::now();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_as_long_as_it_worked() {
        let file = tempfile::tempfile().unwrap();
        let mut paced = Paced::new(file);
        let began = Instant::now();
        thread::sleep(Duration::from_millis(10));
        paced.write_all(&[7; 100]).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(20));
        paced.write_all(&vec![7; SYNC_BYTES]).unwrap();
        assert_eq!(paced.unsynced, 0);
        paced.write_all(&[7]).unwrap();
        paced.flush().unwrap();
        assert_eq!(paced.unsynced, 1);
        assert_eq!(
            paced.file.metadata().unwrap().len(),
            SYNC_BYTES as u64 + 101
        );
    }
}
