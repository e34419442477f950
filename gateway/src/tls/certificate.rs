//! What is said of a certificate here: from when to when it is valid (RFC 5280 section 4.1.2.5), and which one it is.
//!
//! Everything else about it is rustls' affair, which does not tell this.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when a certificate is valid, in seconds since the Unix epoch.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (certificate, _) = element(certificate.as_ref(), SEQUENCE)?;
    let (mut inside, _) = element(certificate, SEQUENCE)?;
    if inside.first() == Some(&VERSION) {
        (_, inside) = element(inside, VERSION)?;
    }
    // Serial number, signature algorithm, issuer.
    (_, inside) = element(inside, INTEGER)?;
    (_, inside) = element(inside, SEQUENCE)?;
    (_, inside) = element(inside, SEQUENCE)?;
    let (validity, _) = element(inside, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// The SHA-256 of a certificate, in hexadecimal with colons, as browsers and `openssl x509 -fingerprint` show it.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The content of the element at the front, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    if found == tag { rest.split_at_checked(length) } else { None }
}

/// A time, always in UTC and to the second.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = element(bytes, tag)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME => format!("{}{text}", if text.as_bytes().first()? >= &b'5' { "19" } else { "20" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let digits =
        text.strip_suffix('Z').filter(|digits| digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number = |at: std::ops::Range<usize>| digits.get(at)?.parse::<i64>().ok();
    let days = days(number(0..4)?, number(4..6)?, number(6..8)?)?;
    Some((days * 86_400 + number(8..10)? * 3600 + number(10..12)? * 60 + number(12..14)?, rest))
}

/// Days since 1970 of a date in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the odd day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        for (date, expected) in
            [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((2026, 11, 27), 20_784), ((4096, 1, 1), 776_506)]
        {
            assert_eq!(days(date.0, date.1, date.2), Some(expected), "{date:?}");
        }
        assert_eq!(time(b"\x17\x0d700101000000Z").unwrap().0, 0);
        assert_eq!(time(b"\x18\x0f20261127010203Z").unwrap().0, 20_784 * 86_400 + 3723);
        for bad in [b"\x17\x0d70010100000xZ".as_slice(), b"\x17\x0b7001010000Z", b"\x16\x0d700101000000Z", b"\x17"] {
            assert!(time(bad).is_none());
        }
    }
}
