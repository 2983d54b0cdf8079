//! Private sums as a process that `scripts/bench-encryption` talks to, so that its steps can be interleaved with a peer's.
//!
//! Arguments: a folder with the vectors `0.f32`, `1.f32`, ..., their number, the bits of a value and the clip bound. Commands
//! come as lines on standard input (`encrypt I`, `add`, `open`, `core`, `memory`), each is answered by one JSON object.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use cifer_homocryption::ring::{
    ContributorKey, GroupContext, KeySum, Layout, Mapped, Quantiser, Scale, encrypt, open_mean,
    params, sum_bodies,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rayon::prelude::*;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, contributors, bits, clip] = arguments.as_slice() else {
        return Err("arguments: FOLDER CONTRIBUTORS BITS CLIP".into());
    };
    let mut bench = Bench::new(
        PathBuf::from(folder),
        contributors.parse()?,
        bits.parse()?,
        clip.parse()?,
    )?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (command, number) = line.split_once(' ').unwrap_or((&line, "0"));
        println!("{}", bench.run(command, number.parse()?)?);
        io::stdout().flush()?;
    }
    Ok(())
}

struct Bench {
    folder: PathBuf,
    rng: ChaCha20Rng,
    group: GroupContext,
    scale: Scale,
    layout: Layout,
    keys: Vec<Option<ContributorKey>>,
    key_sum: KeySum,
    bodies: Vec<Vec<u8>>,
    sum: Vec<u8>,
    mean: Vec<u8>,
}

impl Bench {
    fn new(folder: PathBuf, contributors: u32, bits: u32, clip: f32) -> Outcome<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let group = GroupContext::new("bench", 0, 0, 0, [1; 32])?;
        let scale = Scale::new(bits, clip)?;
        let layout = Layout::new(contributors, scale.value_max())?;
        let keys: Vec<_> = (0..contributors)
            .map(|_| ContributorKey::generate(&group, &mut rng))
            .collect();
        let key_sum = KeySum::of(&keys.iter().collect::<Vec<_>>())?;
        let bodies = keys.iter().map(|_| Vec::new()).collect();
        let keys = keys.into_iter().map(Some).collect();
        Ok(Self {
            folder,
            rng,
            group,
            scale,
            layout,
            keys,
            key_sum,
            bodies,
            sum: Vec::new(),
            mean: Vec::new(),
        })
    }

    fn vector(&self, contributor: usize) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(format!("{contributor}.f32")))
    }

    fn run(&mut self, command: &str, number: usize) -> Outcome<String> {
        match command {
            "encrypt" => self.encrypt(number),
            "add" => self.add(),
            "open" => self.open(),
            "core" => self.core(),
            "memory" => Ok(self.memory()),
            _ => Err(format!("unknown command {command}").into()),
        }
    }

    fn encrypt(&mut self, contributor: usize) -> Outcome<String> {
        let values = self.vector(contributor)?;
        let key = self
            .keys
            .get_mut(contributor)
            .and_then(Option::take)
            .ok_or("no such key, or used before")?;
        let seconds = self.encrypt_with(key, &values, contributor)?;
        let bytes = self.bodies[contributor].len();
        Ok(format!(r#"{{"seconds": {seconds}, "bytes": {bytes}}}"#))
    }

    fn encrypt_with(&mut self, key: ContributorKey, values: &[u8], place: usize) -> Outcome<f64> {
        let encoder = Quantiser::nearest(self.scale, 1)?;
        let count = values.len() as u64 / 4;
        let mut body = std::mem::take(&mut self.bodies[place]);
        body.clear();
        // Memory is there before the clock starts, as it is for whoever writes to a file or a socket.
        body.resize(self.layout.body_bytes(count)? as usize, 1);
        body.clear();
        let start = Instant::now();
        encrypt(
            key,
            &self.layout,
            &encoder,
            count,
            values,
            &mut body,
            &mut self.rng,
        )?;
        let seconds = start.elapsed().as_secs_f64();
        self.bodies[place] = body;
        Ok(seconds)
    }

    fn views(&self) -> Vec<&[u8]> {
        self.bodies.iter().map(Vec::as_slice).collect()
    }

    fn add(&mut self) -> Outcome<String> {
        let mut sum = std::mem::take(&mut self.sum);
        sum.resize(self.bodies[0].len(), 1);
        sum.clear();
        let start = Instant::now();
        sum_bodies(&mut Mapped::new(&self.views())?, &mut sum)?;
        let seconds = start.elapsed().as_secs_f64();
        self.sum = sum;
        let moved = self.bodies.iter().map(Vec::len).sum::<usize>() + self.sum.len();
        Ok(format!(r#"{{"seconds": {seconds}, "bytes": {moved}}}"#))
    }

    fn open(&mut self) -> Outcome<String> {
        let mut mean = std::mem::take(&mut self.mean);
        mean.clear();
        let start = Instant::now();
        open_mean(
            &self.group,
            &self.key_sum,
            &self.scale,
            &mut Mapped::new(&[&self.sum])?,
            &mut mean,
        )?;
        let seconds = start.elapsed().as_secs_f64();
        std::fs::write(self.folder.join("mean.f32"), &mean)?;
        self.mean = mean;
        Ok(format!(r#"{{"seconds": {seconds}}}"#))
    }

    /// One more encryption of the first vector, on one thread, under a key of its own.
    fn core(&mut self) -> Outcome<String> {
        let values = self.vector(0)?;
        let key = ContributorKey::generate(&self.group, &mut self.rng);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        let kept = std::mem::take(&mut self.bodies[0]);
        let seconds = pool.install(|| {
            self.encrypt_with(key, &values, 0)
                .map_err(|error| error.to_string())
        })?;
        self.bodies[0] = kept;
        let coefficients = self.layout.chunks(values.len() as u64 / 4) * params::DEGREE as u64;
        Ok(format!(
            r#"{{"seconds": {seconds}, "coefficients": {coefficients}}}"#
        ))
    }

    /// How fast all cores read the same bodies without doing anything with them but adding words up.
    fn memory(&self) -> String {
        let start = Instant::now();
        let total: u64 = self
            .bodies
            .par_iter()
            .flat_map(|body| body.par_chunks(1 << 18))
            .map(|part| {
                part.as_chunks::<8>().0.iter().fold(0_u64, |sum, word| {
                    sum.wrapping_add(u64::from_le_bytes(*word))
                })
            })
            .reduce(|| 0, u64::wrapping_add);
        black_box(total);
        let seconds = start.elapsed().as_secs_f64();
        let bytes: usize = self.bodies.iter().map(Vec::len).sum();
        format!(r#"{{"seconds": {seconds}, "bytes": {bytes}}}"#)
    }
}
