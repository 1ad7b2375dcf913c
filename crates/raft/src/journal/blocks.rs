//! Writing whole blocks past the page cache: the kernel's way through it costs a quarter of a small sync.
//!
//! A block that holds durable records is written again with those that follow them, and where the two are the same,
//! so are the bytes: a write of which only a part reaches the device spoils nothing. The page cache writes
//! whole pages as well.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Writes begin and end at a multiple of it, in the file as in memory. No device is known that asks for more.
pub(super) const BLOCK: usize = 4096;

/// Bytes that begin where a device may read them.
#[derive(Default)]
pub(super) struct Blocks {
    room: Vec<u8>,
}

impl Blocks {
    /// Writes `bytes` to where `at`, a multiple of [`BLOCK`], says, and zeroes up to the end of the last block.
    pub(super) fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let length = bytes.len().next_multiple_of(BLOCK);
        if self.room.len() < length + BLOCK {
            self.room = vec![0; length + BLOCK];
        }
        let start = self.room.as_ptr().align_offset(BLOCK);
        let blocks = start
            .checked_add(length)
            .and_then(|end| self.room.get_mut(start..end))
            .ok_or_else(|| io::Error::from(ErrorKind::OutOfMemory))?;
        let (records, rest) = blocks.split_at_mut(bytes.len());
        records.copy_from_slice(bytes);
        rest.fill(0);
        file.write_all_at(blocks, at)
    }
}

/// Has a file written past the page cache from now on, if its file system can do that, and zeroes its first
/// block to see.
pub(super) fn pass_cache(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    let can = fcntl_setfl(file, flags | OFlags::DIRECT).is_ok();
    match Blocks::default().write(file, &[0], 0) {
        // Some find out only now, each with an error of its own. What is no fault of theirs comes again.
        Err(_) if can => {
            fcntl_setfl(file, flags)?;
            Blocks::default().write(file, &[0], 0)
        }
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Writes into the middle of a file below `dir`, and returns it.
    fn blocks_are_filled_and_their_place_is_kept(dir: &Path) -> File {
        let path = dir.join("file");
        fs::write(&path, vec![1; 4 * BLOCK]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        pass_cache(&file).unwrap();
        let mut blocks = Blocks::default();
        let at = BLOCK as u64;
        for length in [BLOCK + 1, 7, 2 * BLOCK] {
            blocks.write(&file, &vec![2; length], at).unwrap();
            let found = fs::read(&path).unwrap();
            let end = (BLOCK + length).next_multiple_of(BLOCK);
            assert_eq!(found.len(), 4 * BLOCK);
            assert!(found[..BLOCK].iter().all(|byte| *byte == 0));
            assert!(found[BLOCK..BLOCK + length].iter().all(|byte| *byte == 2));
            assert!(found[BLOCK + length..end].iter().all(|byte| *byte == 0));
            assert_eq!(found[3 * BLOCK], 1);
        }
        file
    }

    #[test]
    fn blocks_are_filled_with_zeroes_and_their_place_kept() {
        let dir = tempfile::tempdir().unwrap();
        blocks_are_filled_and_their_place_is_kept(dir.path());
    }

    #[test]
    #[ignore = "scripts/test runs it below a file system that has a page cache and nothing else"]
    fn a_file_system_that_is_a_page_cache_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = blocks_are_filled_and_their_place_is_kept(dir.path());
        let flags = fcntl_getfl(&file).unwrap();
        assert!(!flags.contains(OFlags::DIRECT), "it can pass the cache");
    }
}
