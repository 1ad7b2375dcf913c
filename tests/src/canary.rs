//! Looking for a value where it must not be: in texts, in files, in a process's memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A random value of letters and digits, which no other test and no other run has.
pub fn canary() -> String {
    const CHARS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
        .iter()
        .map(|byte| char::from(CHARS[usize::from(*byte) % CHARS.len()]))
        .collect()
}

/// The spellings in which a value could be written somewhere.
pub fn spellings(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let each = |f: &dyn Fn(&u8) -> String| bytes.iter().map(f).collect::<String>();
    let mut texts = vec![
        value.to_owned(),
        each(&|b| format!("{b:02x}")),
        each(&|b| format!("{b:02X}")),
        each(&|b| format!("\\u{b:04x}")),
        each(&|b| format!("\\u{b:04X}")),
        each(&|b| format!("\\x{b:02x}")),
        each(&|b| format!("%{b:02X}")),
        each(&|b| format!("%{b:02x}")),
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(","),
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        value.chars().rev().collect(),
    ];
    // Base64 has three looks, by what stands in front; its edges depend on the neighbours.
    for skip in 0..3 {
        let whole = bytes.get(skip..).unwrap_or_default();
        let whole = whole.get(..whole.len() / 3 * 3).unwrap_or_default();
        texts.push(STANDARD_NO_PAD.encode(whole));
        texts.push(URL_SAFE_NO_PAD.encode(whole));
    }
    let mut spellings: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    spellings.push(value.encode_utf16().flat_map(u16::to_le_bytes).collect());
    spellings.sort();
    spellings.dedup();
    spellings
}

/// Where `needle` begins in `hay`, each time (Horspool's search).
pub fn find_all(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    let Some(last) = needle.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut skips = [needle.len(); 256];
    for (at, byte) in needle[..last].iter().enumerate() {
        skips[usize::from(*byte)] = last - at;
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(&end) = hay.get(at + last) {
        if end == needle[last] && hay[at..at + last] == needle[..last] {
            found.push(at);
        }
        at += skips[usize::from(end)];
    }
    found
}

/// Values that must not be found.
pub struct Hunt {
    needles: Vec<(String, Vec<u8>)>,
}

impl Hunt {
    /// For these values, each with a word for what it is.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut needles = Vec::new();
        for (what, value) in values {
            for spelling in spellings(value) {
                needles.push((what.to_owned(), spelling));
            }
        }
        Self { needles }
    }

    /// Also for these bytes, as they are and as numbers.
    pub fn and_bytes(mut self, what: &str, bytes: &[u8]) -> Self {
        let each = |f: &dyn Fn(&u8) -> String| bytes.iter().map(f).collect::<Vec<_>>();
        let mut spellings = vec![
            bytes.to_vec(),
            bytes.iter().rev().copied().collect(),
            each(&|b| format!("{b:02x}")).concat().into_bytes(),
            each(&|b| format!("{b:02X}")).concat().into_bytes(),
            each(&u8::to_string).join(", ").into_bytes(),
            each(&u8::to_string).join(",").into_bytes(),
        ];
        for skip in 0..3 {
            let whole = bytes.get(skip..).unwrap_or_default();
            let whole = whole.get(..whole.len() / 3 * 3).unwrap_or_default();
            spellings.push(STANDARD_NO_PAD.encode(whole).into_bytes());
            spellings.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
        }
        self.needles
            .extend(spellings.into_iter().map(|s| (what.to_owned(), s)));
        self
    }

    /// What is found in `bytes`: words of the values, with what stands around them.
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (what, needle) in &self.needles {
            for at in find_all(bytes, needle) {
                let around = &bytes[at.saturating_sub(80)..(at + 40).min(bytes.len())];
                found.push(format!("{what}: {:?}", String::from_utf8_lossy(around)));
            }
        }
        found
    }

    /// What is found in the files below `dir`, and how many bytes were read in how many files.
    pub fn in_files(&self, dir: &Path) -> (Vec<String>, usize, usize) {
        let (mut found, mut files, mut size) = (Vec::new(), 0, 0);
        let mut stack = vec![dir.to_owned()];
        while let Some(dir) = stack.pop() {
            for entry in fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    stack.push(path);
                    continue;
                }
                // A file may go while we look.
                let Ok(bytes) = fs::read(&path) else { continue };
                (files, size) = (files + 1, size + bytes.len());
                let hits = self.in_bytes(&bytes);
                found.extend(hits.iter().map(|hit| format!("{}: {hit}", path.display())));
                let name = path.display().to_string();
                let hits = self.in_bytes(name.as_bytes());
                found.extend(hits.iter().map(|hit| format!("a file's name: {hit}")));
            }
        }
        (found, files, size)
    }
}

/// A hit in a process's memory.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The kind of region: `[heap]`, a file, or `anonymous` with its size.
    pub region: String,
    /// Its address.
    pub address: usize,
    /// What stands around it.
    pub around: String,
}

/// Reads all readable memory of a process and finds `needle` in it. `None` if it may not be read.
pub fn in_memory(pid: u32, needles: &[&[u8]]) -> Option<(Vec<Hit>, usize)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let (mut hits, mut size) = (Vec::new(), 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let name = words.nth(3).unwrap_or_default();
        if !rights.starts_with('r') || ["[vvar]", "[vsyscall]", "[vvar_vclock]"].contains(&name) {
            continue;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let mut bytes = vec![0; end - start];
        let offset = u64::try_from(start).ok()?;
        // A region may go while we look.
        if memory.read_exact_at(&mut bytes, offset).is_err() {
            continue;
        }
        size += bytes.len();
        for needle in needles {
            for at in find_all(&bytes, needle) {
                let around = &bytes[at.saturating_sub(64)..(at + 96).min(bytes.len())];
                let region = match name {
                    "" => format!("anonymous of {} KiB", (end - start) / 1024),
                    name => name.to_owned(),
                };
                hits.push(Hit {
                    region,
                    address: start + at,
                    around: String::from_utf8_lossy(around).escape_debug().to_string(),
                });
            }
        }
    }
    Some((hits, size))
}

/// Hits by region.
pub fn by_region(hits: &[Hit]) -> BTreeMap<&str, usize> {
    let mut regions = BTreeMap::new();
    for hit in hits {
        *regions.entry(hit.region.as_str()).or_default() += 1;
    }
    regions
}
