//! What the operations cost on this machine: `cargo run --release -p cifer-homocryption --features tfhe --example costs`.

use std::error::Error;
use std::time::{Duration, Instant};

use cifer_homocryption::{
    Encoding, Frame, PackedVector, add, decrypt, encrypt, generate_keys, mul, mul_small,
    relinearize,
};

/// CPU time of this process on all cores, where the system is Linux. Neighbours on the machine stretch it less than
/// they stretch the time on the wall.
fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(Duration::from_millis(10 * (user + system)))
}

/// Runs `work` a few times and prints the median, the slowest and the mean CPU time.
fn measure<T>(what: &str, times: usize, mut work: impl FnMut() -> T) -> T {
    let before = cpu();
    let mut once = || {
        let start = Instant::now();
        let result = work();
        (start.elapsed(), result)
    };
    let (first, mut last) = once();
    let mut spent = vec![first];
    for _ in 1..times {
        let (time, result) = once();
        spent.push(time);
        last = result;
    }
    spent.sort_unstable();
    let (median, slowest) = (spent[times / 2], spent[times - 1]);
    let cpu = match (before, cpu()) {
        (Some(before), Some(after)) => format!("{:.3?}", (after - before) / times as u32),
        _ => "unknown".to_owned(),
    };
    println!("{what:<36} {median:>12.3?} {slowest:>12.3?} {cpu:>12} {times:>4}");
    last
}

fn size(what: &str, bytes: usize) {
    println!("{what:<36} {bytes:>12} bytes");
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:<36} {:>12} {:>12} {:>12} {:>4}",
        "operation", "median", "slowest", "mean CPU", "of"
    );
    let (public, private, relin) = measure("generate_keys", 5, generate_keys)?;
    let one = measure("encrypt a scalar", 101, || encrypt(&public, 42))?;
    let two = measure("add", 101, || add(&one, &one))?;
    measure("decrypt", 101, || decrypt(&private, &two))?;
    let full = mul_small(&one, 5)?;
    let clean = measure("relinearize", 5, || relinearize(&full, &relin))?;
    let mixed = measure("add, relinearized", 101, || add(&clean, &clean))?;
    measure("decrypt, relinearized", 101, || decrypt(&private, &mixed))?;
    let product = measure("mul", 3, || mul(&clean, &one, &relin))?;
    if decrypt(&private, &product)? != 5 * 42 * 42 {
        return Err("the product is wrong".into());
    }

    let count = 1_000_000;
    let values: Vec<i64> = (0..count).map(|v| v % 8000 - 4000).collect();
    let encoding = Encoding::integers(1)?;
    let vector = measure("encrypt 10^6 numbers of one limb", 5, || {
        PackedVector::encrypt(&public, encoding, &values)
    })?;
    let mut sum = vector.clone();
    measure("add 10^6 numbers of one limb", 10, || {
        sum.add_assign(&vector)
    })?;
    let found = measure("decrypt 10^6 numbers of one limb", 5, || {
        sum.decrypt(&private)
    })?;

    size("public key", public.to_bytes().len());
    size("relinearization key", relin.to_bytes().len());
    size("scalar", one.to_bytes().len());
    size("scalar, relinearized", clean.to_bytes().len());
    size("vector of 10^6", vector.to_bytes().len());
    let right = found
        .iter()
        .zip(&values)
        .all(|(found, value)| *found == 11 * value);
    if right {
        Ok(())
    } else {
        Err("the sum is wrong".into())
    }
}
