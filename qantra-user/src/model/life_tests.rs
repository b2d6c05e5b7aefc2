//! Bundles, signatures, trials and versions on the disk, each with what strangers make of them. Trials of programs that
//! crash, hang or eat are run on shell scripts in the place of `qantra`; the real one is in `tests/model_life.rs`.

use std::{collections::BTreeMap, fs, io::Cursor, os::unix::fs::PermissionsExt as _, path::Path};

use super::{
    Bundle, CheckLimits, LifeState, ModelError, Signed, Trust, VersionId, VersionName, VersionStore, check_apart,
    check_folder,
    onnx::build::{Message, node, tensor},
    tests::{copy_all, library, replace, shipped},
    verify,
};
use crate::clock::boot_ns;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn bundle() -> Result<Bundle, ModelError> {
    Bundle::read(&shipped())
}

#[test]
fn a_bundle_is_the_same_as_folder_and_as_tar_file() -> TestResult {
    let bundle = bundle()?;
    assert_eq!(bundle.files.len(), 6, "{:?}", bundle.files.keys());
    let tar = bundle.to_tar()?;
    assert_eq!(Bundle::from_tar(&tar, Path::new("x"))?, bundle);
    assert_eq!(bundle.to_tar()?, tar);
    let dir = tempfile::tempdir()?;
    bundle.write_folder(dir.path())?;
    assert_eq!(Bundle::read(dir.path())?, bundle);
    Ok(())
}

fn tar_of(files: &[(&str, &[u8])]) -> Result<Vec<u8>, std::io::Error> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        // The library refuses such names, a stranger's does not.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, Cursor::new(bytes))?;
    }
    archive.into_inner()
}

#[test]
fn hostile_tar_files_are_refused() -> TestResult {
    let bundle = bundle()?;
    let manifest = bundle.manifest.as_slice();
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "manifest.toml", "/etc/passwd")?;
    let many: Vec<(String, &[u8])> = (0..40).map(|n| (format!("f{n}"), &b""[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let cases = [
        (tar_of(&[("../manifest.toml", manifest)])?, "plain files"),
        (tar_of(&[("/etc/cron.d/x", manifest)])?, "plain files"),
        (link.into_inner()?, "plain files"),
        (tar_of(&[("manifest.toml", manifest), ("manifest.toml", manifest)])?, "twice"),
        (tar_of(&[("manifest.toml", manifest)])?, "is missing"),
        (tar_of(&[("manifest.toml", b"format = 1\n[[model]]\n")])?, "line 2"),
        (tar_of(&[("other", b"x")])?, "holds no manifest.toml"),
        (tar_of(&many)?, "more than 32 files"),
        (vec![0; (32 << 20) + 1], "the limit for a bundle"),
        (vec![0xA5; 4_096], "no tar file"),
        (Vec::new(), "holds no manifest.toml"),
    ];
    for (bytes, expected) in cases {
        let said = Bundle::from_tar(&bytes, Path::new("x")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(expected) && !said.contains('\n'), "expected {expected}: {said}");
    }
    let mut changed = bundle.clone();
    changed.files.values_mut().for_each(|bytes| bytes[100] ^= 1);
    let said = Bundle::from_tar(&changed.to_tar()?, Path::new("x")).err().map(|error| error.to_string());
    assert!(said.is_some_and(|said| said.contains("sha256")));
    Ok(())
}

#[test]
fn only_signatures_of_this_manifest_by_trusted_keys_count() -> TestResult {
    let mut bundle = bundle()?;
    let (ours, other) =
        (minisign::KeyPair::generate_unencrypted_keypair()?, minisign::KeyPair::generate_unencrypted_keypair()?);
    let sign = |pair: &minisign::KeyPair, bytes: &[u8]| -> Result<Vec<u8>, minisign::PError> {
        Ok(minisign::sign(None, &pair.sk, Cursor::new(bytes), None, None)?.into_string().into_bytes())
    };
    let key = ours.pk.to_base64();
    assert!(super::is_public_key(&key) && !super::is_public_key("RWQ"));
    let trust = |is_required| Trust { keys: vec![key.clone()], is_required };
    let said = |bundle: &Bundle, trust: &Trust| verify(bundle, trust).map_err(|error| error.to_string());
    assert_eq!(said(&bundle, &trust(false)), Ok(Signed::Unsigned));
    assert!(said(&bundle, &trust(true)).is_err_and(|said| said.contains("there is none")));
    bundle.signature = Some(sign(&ours, &bundle.manifest)?);
    assert_eq!(said(&bundle, &trust(true)), Ok(Signed::Trusted));
    assert_eq!(said(&bundle, &Trust::default()), Ok(Signed::Unchecked));
    assert!(said(&bundle, &Trust { keys: Vec::new(), is_required: true }).is_err());
    let mut changed = bundle.clone();
    changed.manifest.push(b'\n');
    // A bad signature is refused where none is required as well.
    assert!(said(&changed, &trust(false)).is_err_and(|said| said.contains("changed after it")));
    bundle.signature = Some(sign(&other, &bundle.manifest)?);
    assert!(said(&bundle, &trust(false)).is_err());
    for garbage in [&b""[..], b"untrusted comment: x\nAAAA\n", &[0xFF; 300]] {
        bundle.signature = Some(garbage.to_vec());
        assert!(said(&bundle, &trust(false)).is_err_and(|said| said.contains("no minisign signature")));
    }
    Ok(())
}

#[test]
fn versions_survive_and_the_oldest_make_room() -> TestResult {
    let dir = tempfile::tempdir()?;
    let (store, mut state, _) = VersionStore::open(dir.path())?;
    let mut ids = Vec::new();
    for number in 0..5 {
        let manifest = format!("format = 1\n# {number}\n").into_bytes();
        let id = store.install(&Bundle { manifest, signature: None, files: BTreeMap::new() })?;
        ids.push(id);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(store.list(), ids);
    state.active = VersionName::Kept(ids[0].clone());
    state.previous = Some(VersionName::Shipped);
    store.prune(&mut state, 3, &ids[3]);
    assert_eq!(store.list(), [ids[0].clone(), ids[3].clone(), ids[4].clone()]);
    // What has just come stays although those in use fill the limit.
    store.prune(&mut state, 1, &ids[3]);
    assert_eq!(store.list(), [ids[0].clone(), ids[3].clone()]);
    store.save(&state)?;
    fs::create_dir(dir.path().join("models/.new-0123"))?;
    let (store, again, note) = VersionStore::open(dir.path())?;
    assert_eq!((again, note), (state, None));
    assert!(!dir.path().join("models/.new-0123").exists(), "half a version stayed");
    fs::write(dir.path().join("models/state.json"), "{")?;
    let (_, again, note) = VersionStore::open(dir.path())?;
    assert_eq!(again, LifeState::default());
    assert!(note.is_some_and(|note| note.contains("set aside")) && dir.path().join("models/state.damaged").exists());
    assert_eq!(store.list().len(), 2);
    Ok(())
}

#[test]
fn names_of_versions_are_no_paths() {
    for bad in ["", "..", "0123456789ab/", "0123456789AB", "0123456789abc", "state.json"] {
        assert!(VersionId::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    assert_eq!(VersionName::try_from("shipped".to_owned()), Ok(VersionName::Shipped));
}

/// What a trial says of a program that does this in the place of `qantra model check`.
fn trial_of(script: &str) -> Result<String, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let limits = CheckLimits {
        program,
        runtime: "/nowhere".into(),
        deadline_ms: 20,
        whole_ms: 3_000,
        child_resident_bytes: 64 << 20,
    };
    Ok(check_apart(Path::new("/models"), &limits).err().map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn what_crashes_hangs_or_eats_memory_does_so_apart() -> TestResult {
    let begun_ns = boot_ns();
    for (script, expected) in [
        ("exec sleep 60", "/models: loading and canary took more than 3 s"),
        ("exec tail /dev/zero", "MiB of memory, the limit is 64 MiB"),
        ("kill -SEGV $$", "its process ended by itself"),
        ("echo 'error: model `x`: is too slow' >&2; exit 1", "/models: model `x`: is too slow"),
        ("exit 1", "its process ended by itself"),
        ("echo nonsense", "its report makes no sense"),
        ("printf '\\033[2J%09000d' 7 >&2; exit 1", "/models: "),
    ] {
        let said = trial_of(script)?;
        assert!(said.contains(expected) && said.len() < 300 && !said.contains('\n'), "expected {expected}: {said}");
    }
    assert!(boot_ns() - begun_ns < 60_000_000_000, "seven trials took more than a minute");
    Ok(())
}

/// A classifier that does what it should, after hundreds of matrix products for each id.
fn slow_classifier() -> Vec<u8> {
    const WIDE: u64 = 96;
    const LAYERS: usize = 240;
    let numbers = |count: u64| -> Vec<f32> { (0..count).map(|n| (n % 7) as f32 * 1e-4).collect() };
    let mut nodes = vec![node("Gather", &["table", "x"], &["h0"])];
    for layer in 0..LAYERS {
        nodes.push(node("MatMul", &[&format!("h{layer}"), "w"], &[&format!("h{}", layer + 1)]));
    }
    nodes.push(node("ReduceSum", &[&format!("h{LAYERS}"), "one"], &["s"]));
    // Without its default, which keeps the axis.
    let last = nodes.len() - 1;
    nodes[last] = nodes[last].clone().message(5, &Message::default().text(1, "keepdims").number(3, 0).number(20, 2));
    nodes.push(node("MatMul", &["s", "out"], &["l"]));
    nodes.push(node("Softmax", &["l"], &["y"]));
    let ids = crate::features::http::CLASSIFIER_IDS as u64;
    let axis = Message::default().number(1, 1).number(2, 7).text(8, "one").bytes(9, &1_i64.to_le_bytes());
    let weights = [
        tensor("table", &[ids, WIDE], &numbers(ids * WIDE)),
        tensor("w", &[WIDE, WIDE], &numbers(WIDE * WIDE)),
        tensor("out", &[WIDE, 14], &numbers(WIDE * 14)),
        axis,
    ];
    super::onnx::build::classifier(&nodes, &weights, 14)
}

#[test]
fn a_slow_model_is_refused_by_its_time() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let dir = copy_all()?;
    replace(dir.path(), "request_classifier.onnx", &slow_classifier(), true)?;
    let said = match check_folder(dir.path(), &library, 10) {
        Ok(report) => format!("taken: {report:?}"),
        Err(error) => error.to_string(),
    };
    assert!(said.contains("is too slow: one request's fields took") && said.contains("the limit is 5 ms"), "{said}");
    Ok(())
}

#[test]
fn answers_that_make_no_sense_are_refused() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    // Numbers that are no probabilities: a sum of ids for each class.
    let nodes = [
        Message(node("Gather", &["table", "x"], &["h"]).0),
        node("ReduceSum", &["h", "one"], &["y"])
            .message(5, &Message::default().text(1, "keepdims").number(3, 0).number(20, 2)),
    ];
    let ids = crate::features::http::CLASSIFIER_IDS as u64;
    let axis = Message::default().number(1, 1).number(2, 7).text(8, "one").bytes(9, &1_i64.to_le_bytes());
    for number in [1.0, f32::NAN, f32::INFINITY] {
        let table = tensor("table", &[ids, 14], &vec![number; ids as usize * 14]);
        let dir = copy_all()?;
        let bytes = super::onnx::build::classifier(&nodes, &[table, axis.clone()], 14);
        replace(dir.path(), "request_classifier.onnx", &bytes, true)?;
        let said = check_folder(dir.path(), &library, 20).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("not finite numbers from 0 to 1"), "{number}: {said}");
    }
    let report = check_folder(&shipped(), &library, 20)?;
    assert_eq!(report.models.len(), 6);
    Ok(())
}
