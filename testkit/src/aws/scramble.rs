//! Identifiers and ciphertexts that look random but are the same in every run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter::successors;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The start of KMS ciphertexts with symmetric keys.
const CIPHERTEXT_START: &str = "AQICAH";

/// About how many bytes KMS adds to a plaintext.
const CIPHERTEXT_OVERHEAD: usize = 150;

/// The six characters at the end of the ARN of the `number`-th secret.
pub(super) fn arn_suffix(number: u64) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    stream(number).take(6).map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// The `number`-th version id, in the form of a UUID.
pub(super) fn version_id(number: u64) -> String {
    let (a, b) = (mix(number), mix(!number));
    let (time, node) = (a >> 32, b & 0xffff_ffff_ffff);
    format!("{time:08x}-{:04x}-4{:03x}-8{:03x}-{node:012x}", a & 0xffff, a >> 16 & 0xfff, b >> 48 & 0xfff)
}

/// What a read without decryption shows instead of `value`. It contains no part of the text.
pub(super) fn ciphertext(name: &str, version: u64, value: &str) -> String {
    let mut seed = DefaultHasher::new();
    (name, version, value).hash(&mut seed);
    let bytes: Vec<u8> = stream(seed.finish()).take(CIPHERTEXT_OVERHEAD + value.len()).collect();
    format!("{CIPHERTEXT_START}{}", BASE64_STANDARD.encode(&bytes))
}

fn stream(seed: u64) -> impl Iterator<Item = u8> {
    successors(Some(mix(seed)), |last| Some(mix(*last))).flat_map(u64::to_le_bytes)
}

/// `SplitMix64`: every bit of the answer depends on every bit of the seed.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
