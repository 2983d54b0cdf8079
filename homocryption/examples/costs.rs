//! What the operations cost on this machine: `cargo run --release -p cifer-homocryption --features tfhe --example costs`.

use std::error::Error;
use std::time::Instant;

use cifer_homocryption::{
    Encoding, Frame, PackedVector, add, decrypt, encrypt, generate_keys, mul, mul_small,
    relinearize,
};

/// Runs `work` a few times and prints the mean.
fn measure<T>(what: &str, times: u32, mut work: impl FnMut() -> T) -> T {
    let start = Instant::now();
    let mut last = work();
    for _ in 1..times {
        last = work();
    }
    println!("{what:<36} {:>12.3?}", start.elapsed() / times);
    last
}

fn main() -> Result<(), Box<dyn Error>> {
    let (public, private, relin) = measure("generate_keys", 1, generate_keys)?;
    println!("{:<36} {:>12} bytes", "public key", public.to_bytes().len());
    println!(
        "{:<36} {:>12} bytes",
        "relinearization key",
        relin.to_bytes().len()
    );
    let one = measure("encrypt a scalar", 100, || encrypt(&public, 42))?;
    let two = measure("add", 100, || add(&one, &one))?;
    measure("decrypt", 100, || decrypt(&private, &two))?;
    let full = mul_small(&one, 5)?;
    let clean = measure("relinearize", 3, || relinearize(&full, &relin))?;
    measure("mul", 1, || mul(&clean, &one, &relin))?;
    println!("{:<36} {:>12} bytes", "scalar", one.to_bytes().len());
    println!(
        "{:<36} {:>12} bytes",
        "scalar, relinearized",
        clean.to_bytes().len()
    );

    let count = 1_000_000;
    let values: Vec<i64> = (0..count).map(|v| v % 8000 - 4000).collect();
    let encoding = Encoding::integers(1)?;
    let vector = measure("encrypt 10^6 numbers of one limb", 1, || {
        PackedVector::encrypt(&public, encoding, &values)
    })?;
    let mut sum = vector.clone();
    measure("add 10^6 numbers of one limb", 10, || {
        sum.add_assign(&vector)
    })?;
    let found = measure("decrypt 10^6 numbers of one limb", 1, || {
        sum.decrypt(&private)
    })?;
    println!("{:<36} {:>12} bytes", "vector", vector.to_bytes().len());
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
