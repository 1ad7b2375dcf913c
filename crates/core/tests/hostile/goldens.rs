//! The bytes of the golden test: bytes that decode, to be spoilt.

/// Each line of each file, with the file's name.
pub(crate) fn goldens() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
                let bytes = (0..line.len()).step_by(2).map(byte).collect();
                found.push((name.clone(), bytes));
            }
        }
    }
    assert!(found.len() > 30);
    found
}
