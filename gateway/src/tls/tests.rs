use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A self-signed pair, valid in these years.
fn pair(directory: &Path, name: &str, years: (i32, i32)) -> Files {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let files = Files {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
        client_ca: None,
    };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).unwrap();
    files
}

#[test]
fn a_pair_that_is_valid_now_is_taken_and_its_end_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let files = pair(directory.path(), "a", (2020, 2040));
    let setting = load(&files, NOW).unwrap();
    assert_eq!(setting.ends, 2_208_988_800);
    assert_eq!(setting.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(setting.config.max_early_data_size, 0);
    let with_clients = Files { client_ca: Some(files.certificate.clone()), ..files };
    assert!(load(&with_clients, NOW).is_ok());
}

#[test]
fn files_that_cannot_be_used_are_refused_and_what_counted_still_does() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (good, other) = (pair(at, "good", (2020, 2040)), pair(at, "other", (2020, 2040)));
    let (old, early) = (pair(at, "old", (2010, 2020)), pair(at, "early", (2039, 2040)));
    let live = Live::open(pair(at, "live", (2020, 2030)), NOW).unwrap();
    let before = live.config();
    let empty = at.join("empty");
    std::fs::write(&empty, "").unwrap();
    let open = pair(at, "open", (2020, 2040));
    std::fs::set_permissions(&open.key, PermissionsExt::from_mode(0o644)).unwrap();
    let cases = [
        (Files { key: other.key.clone(), ..good.clone() }, "is not the key of"),
        (old, "is not valid now"),
        (early, "is not valid now"),
        (Files { certificate: empty.clone(), ..good.clone() }, "holds no certificate"),
        (Files { certificate: at.join("none"), ..good.clone() }, "holds no certificate"),
        (Files { key: good.certificate.clone(), ..good.clone() }, ""),
        (Files { client_ca: Some(empty), ..good.clone() }, "holds no certificate"),
        (open, "is open to others (mode 644)"),
    ];
    for (files, fault) in cases {
        let said = load(&files, NOW).unwrap_err().to_string();
        assert!(said.contains(fault), "{said}");
        for (from, to) in files.all().zip(live.files().all()) {
            let _ = std::fs::copy(from, to);
        }
        if files.all().all(|file| file.exists()) && files.client_ca.is_none() {
            assert!(live.reload(NOW).is_err(), "{fault}");
        }
        assert!(Arc::ptr_eq(&before, &live.config()), "{fault}");
    }
    for (from, to) in good.all().zip(live.files().all()) {
        std::fs::copy(from, to).unwrap();
    }
    live.reload(NOW).unwrap();
    assert!(!Arc::ptr_eq(&before, &live.config()), "the control: a good pair is taken");
    assert_eq!(live.ends(), 2_208_988_800);
}

#[test]
fn a_certificate_for_a_laptop_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let (files, first) = dev::certificate(directory.path(), NOW).unwrap();
    let (_, second) = dev::certificate(directory.path(), NOW).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.len(), 32 * 3 - 1);
    assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&files.key, "").unwrap();
    assert_ne!(dev::certificate(directory.path(), NOW).unwrap().1, first, "one that cannot be used is made anew");
}
