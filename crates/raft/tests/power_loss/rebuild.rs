//! A disk and the page cache above it. What was synced survives a power cut; of the rest, any part
//! may.
//!
//! Contents: each 4 KiB page is on disk as it was after any of the writes to it since the last sync,
//! or before all of them, each page for itself. A file's length is any that it had since then, or one
//! in between while it grew. Names: of the changes to a directory since it was synced, any number of
//! the first may be there.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::{
    segments::{Headers, Segments},
    trace::Event,
};

const PAGE: u64 = 4096;

/// SplitMix64: states must come again from a printed seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// How many of `n` changes reached the disk: often all or none, else any number.
    fn survivors(&mut self, n: usize) -> usize {
        match self.below(5) {
            0 | 1 => n,
            2 | 3 => 0,
            _ => self.below(n as u64 + 1) as usize,
        }
    }
}

enum Change {
    Write { offset: u64, data: Vec<u8> },
    Truncate { length: u64 },
}

#[derive(Default)]
struct File {
    /// It is sled's, with segments.
    segments: Option<Segments>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum NameChange {
    Link(String, Id),
    Unlink(String),
    Rename(String, String),
}

type Names = BTreeMap<String, Id>;

#[derive(Default)]
struct Dir {
    durable: Names,
    current: Names,
    pending: Vec<NameChange>,
}

#[derive(Clone, Copy)]
enum Id {
    File(usize),
    Dir(usize),
}

pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    dirs: Vec<Dir>,
    inodes: HashMap<u64, usize>,
}

impl Disk {
    /// A disk that durably holds what is below `root` now.
    pub fn holding(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            dirs: Vec::new(),
            inodes: HashMap::new(),
        };
        disk.load(root);
        disk
    }

    fn load(&mut self, path: &Path) -> usize {
        let id = self.dirs.len();
        self.dirs.push(Dir::default());
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let child = if entry.file_type().unwrap().is_dir() {
                Id::Dir(self.load(&entry.path()))
            } else {
                let durable = fs::read(entry.path()).unwrap();
                self.inodes
                    .insert(entry.metadata().unwrap().ino(), self.files.len());
                self.files.push(File {
                    segments: Segments::of(&name, &durable),
                    durable,
                    pending: Vec::new(),
                });
                Id::File(self.files.len() - 1)
            };
            self.dirs[id].durable.insert(name.clone(), child);
            self.dirs[id].current.insert(name, child);
        }
        id
    }

    pub fn replay(&mut self, event: Event) {
        match event {
            Event::Create { inode, path } => {
                self.inodes.insert(inode, self.files.len());
                self.files.push(File {
                    segments: Segments::of(&name(&path), &[]),
                    ..File::default()
                });
                let id = Id::File(self.files.len() - 1);
                self.change(&path, |name| NameChange::Link(name, id));
            }
            Event::MakeDir { path } => {
                self.dirs.push(Dir::default());
                let id = Id::Dir(self.dirs.len() - 1);
                self.change(&path, |name| NameChange::Link(name, id));
            }
            Event::Unlink { path } | Event::RemoveDir { path } => {
                self.change(&path, NameChange::Unlink);
            }
            Event::Rename { from, to } => {
                assert_eq!(
                    from.parent(),
                    to.parent(),
                    "renames across directories are not modelled"
                );
                let to = name(&to);
                self.change(&from, |from| NameChange::Rename(from, to));
            }
            Event::Write {
                inode,
                offset,
                data,
            } => {
                let file = self.file(inode);
                if let Some(segments) = &mut file.segments {
                    segments.write(offset, &data);
                }
                file.pending.push(Change::Write { offset, data });
            }
            Event::Truncate { inode, length } => {
                self.file(inode).pending.push(Change::Truncate { length });
            }
            Event::Sync { inode } => {
                let file = self.file(inode);
                file.segments.iter_mut().for_each(Segments::sync);
                for change in std::mem::take(&mut file.pending) {
                    apply(&mut file.durable, &change);
                }
            }
            Event::SyncDir { path } => {
                let id = self.dir(&path);
                let dir = &mut self.dirs[id];
                for change in std::mem::take(&mut dir.pending) {
                    rename(&mut dir.durable, &change);
                }
            }
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        &mut self.files[self.inodes[&inode]]
    }

    fn dir(&self, path: &Path) -> usize {
        let below = path.strip_prefix(&self.root).unwrap();
        below.iter().fold(0, |dir, part| {
            match self.dirs[dir].current[part.to_str().unwrap()] {
                Id::Dir(id) => id,
                Id::File(_) => panic!("{} is a file", path.display()),
            }
        })
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(String) -> NameChange) {
        let id = self.dir(path.parent().unwrap());
        let change = change(name(path));
        rename(&mut self.dirs[id].current, &change);
        self.dirs[id].pending.push(change);
    }

    /// The headers that sled wrote.
    pub fn headers(&self) -> Headers {
        let segments = self.files.iter().filter_map(|file| file.segments.as_ref());
        segments
            .map(|segments| segments.headers)
            .fold(Headers::default(), Headers::and)
    }

    /// Writes what a power cut now might leave.
    pub fn cut_power(&self, to: &Path, random: &mut Random) {
        self.write_dir(0, to, random);
    }

    fn write_dir(&self, id: usize, to: &Path, random: &mut Random) {
        fs::create_dir_all(to).unwrap();
        let dir = &self.dirs[id];
        let mut names = dir.durable.clone();
        for change in dir.pending.iter().take(random.survivors(dir.pending.len())) {
            rename(&mut names, change);
        }
        for (name, id) in names {
            match id {
                Id::Dir(id) => self.write_dir(id, &to.join(name), random),
                Id::File(id) => write_sparse(&to.join(name), &self.files[id].after_cut(random)),
            }
        }
    }
}

impl File {
    fn after_cut(&self, random: &mut Random) -> Vec<u8> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        let mut writes: HashMap<u64, usize> = HashMap::new();
        for change in &self.pending {
            if let Change::Write { offset, data } = change {
                for page in pages(*offset, data.len()) {
                    *writes.entry(page).or_default() += 1;
                }
            }
        }
        let mut kept: Vec<(u64, usize)> = writes.into_iter().collect();
        kept.sort_unstable();
        let mut kept: HashMap<u64, usize> = kept
            .into_iter()
            .map(|(page, n)| (page, random.survivors(n)))
            .collect();
        let sized = random.survivors(self.pending.len());
        let mut bytes = self.durable.clone();
        let mut length = bytes.len() as u64;
        let mut growth = None;
        for (number, change) in self.pending.iter().enumerate() {
            match change {
                Change::Write { offset, data } => {
                    for page in pages(*offset, data.len()) {
                        let left = kept.get_mut(&page).unwrap();
                        if *left > 0 {
                            *left -= 1;
                            write_page(&mut bytes, *offset, data, page);
                        }
                    }
                    let end = offset + data.len() as u64;
                    if number < sized && end > length {
                        growth = Some((length, end));
                        length = end;
                    }
                }
                Change::Truncate { length: to } if number < sized => {
                    bytes.truncate(*to as usize);
                    length = *to;
                    growth = None;
                }
                Change::Truncate { .. } => {}
            }
        }
        // Now and then the power goes while the file grows.
        if let Some((from, to)) = growth.filter(|_| random.below(3) == 0) {
            length = from + random.below(to - from + 1);
        }
        bytes.resize(length as usize, 0);
        bytes
    }
}

fn pages(offset: u64, length: usize) -> std::ops::Range<u64> {
    offset / PAGE..(offset + length as u64).div_ceil(PAGE)
}

fn write_page(bytes: &mut Vec<u8>, offset: u64, data: &[u8], page: u64) {
    let from = offset.max(page * PAGE);
    let to = (offset + data.len() as u64).min((page + 1) * PAGE);
    let end = to as usize;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[from as usize..end]
        .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => {
            for page in pages(*offset, data.len()) {
                write_page(bytes, *offset, data, page);
            }
        }
        Change::Truncate { length } => bytes.resize(*length as usize, 0),
    }
}

fn rename(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Link(name, id) => {
            names.insert(name.clone(), *id);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, page) in bytes.chunks(64 * 1024).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, number as u64 * 64 * 1024).unwrap();
        }
    }
}
