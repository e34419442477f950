//! Every seed once, so that what was once found stays found where no fuzzer runs.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_fuzz::TARGETS;

fn names(directory: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let name = |entry: std::fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| name(entry.unwrap())).collect()
}

#[test]
fn what_must_hold_holds_of_every_seed() {
    for (target, check) in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        let (mut accepted, mut refused) = (0, 0);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let seed = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| check(&seed));
            let taken = outcome.unwrap_or_else(|_panic| panic!("{} does not hold", path.display()));
            *(if taken { &mut accepted } else { &mut refused }) += 1;
        }
        assert!(accepted > 0 && refused > 0, "{target}: {accepted} seeds are accepted, {refused} refused");
    }
}

#[test]
fn every_target_is_handed_to_the_fuzzer_and_has_seeds() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), listed);
    assert_eq!(names("seeds"), listed);
}
