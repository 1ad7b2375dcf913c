//! Reads what `tests/shim/io_trace.c` wrote; the format is described there.

use std::path::PathBuf;

pub enum Event {
    Create {
        inode: u64,
        path: PathBuf,
    },
    Write {
        inode: u64,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        inode: u64,
        length: u64,
    },
    Sync {
        inode: u64,
    },
    SyncDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
}

pub fn read(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let kind = take(&mut bytes, 1)[0];
        let inode = u64::from_ne_bytes(take(&mut bytes, 8).try_into().unwrap());
        let offset = u64::from_ne_bytes(take(&mut bytes, 8).try_into().unwrap());
        let a = u32::from_ne_bytes(take(&mut bytes, 4).try_into().unwrap());
        let b = u32::from_ne_bytes(take(&mut bytes, 4).try_into().unwrap());
        let a = take(&mut bytes, a as usize);
        let b = take(&mut bytes, b as usize);
        let path = |raw: &[u8]| PathBuf::from(String::from_utf8(raw.to_vec()).unwrap());
        events.push(match kind {
            b'C' => Event::Create {
                inode,
                path: path(a),
            },
            b'W' => Event::Write {
                inode,
                offset,
                data: a.to_vec(),
            },
            b'T' => Event::Truncate {
                inode,
                length: offset,
            },
            b'S' => Event::Sync { inode },
            b'D' => Event::SyncDir { path: path(a) },
            b'R' => Event::Rename {
                from: path(a),
                to: path(b),
            },
            b'U' => Event::Unlink { path: path(a) },
            b'X' => Event::RemoveDir { path: path(a) },
            b'M' => Event::MakeDir { path: path(a) },
            other => panic!("unknown record {other}"),
        });
    }
    events
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}
