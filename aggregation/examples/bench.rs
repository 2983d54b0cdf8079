//! Our side of `scripts/bench-aggregation`: runs pipelines on arrays in memory when told to, one line on
//! stdin a command, one line on stdout an answer.
//!
//! | command | answer |
//! |---|---|
//! | `load PATH` (a `.npy` file of two dimensions) | `ok N D` |
//! | `run SECONDS PIPELINE` | `ms TIME`, of the last of as many aggregations as fill these seconds, one at least |
//! | `save PATH` (a `.npy` file) | `ok`, the result of the last run |
//! | `bandwidth` | `gbs RATE`, of reading memory with all threads |
//!
//! Anything else, and what fails, is answered with `error TEXT`.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use cifer_aggregation::files::{OutputFile, Tensor, UpdateFile};
use cifer_aggregation::{Pipeline, Sink, Update, VectorSource, aggregate_pipeline};
use rayon::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// Memory read to measure the bandwidth: 512 MiB, beyond every cache.
const BANDWIDTH_WORDS: usize = 64 << 20;
const BANDWIDTH_RUNS: usize = 7;

#[derive(Default)]
struct Bench {
    /// One row after the other, as in the file.
    values: Vec<f32>,
    rows: usize,
    result: Vec<f32>,
}

fn main() -> Result<(), Failure> {
    let mut bench = Bench::default();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = bench.answer(command, argument);
        let answer = answer.unwrap_or_else(|error| format!("error {error}"));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

impl Bench {
    fn answer(&mut self, command: &str, argument: &str) -> Result<String, Failure> {
        match command {
            "load" => self.load(argument),
            "run" => self.run(argument),
            "save" => self.save(argument),
            "bandwidth" => Ok(format!("gbs {}", read_bandwidth())),
            _ => Err(format!("unknown command {command:?}").into()),
        }
    }

    fn load(&mut self, path: &str) -> Result<String, Failure> {
        // The old arrays go first: two at a time may be more than there is memory for.
        *self = Self::default();
        let files = UpdateFile::open_rows(path)?;
        let len = files.first().map_or(0, |file| file.len());
        self.values = vec![0.0; files.len() * len];
        self.rows = files.len();
        for (file, row) in files.iter().zip(self.values.chunks_exact_mut(len.max(1))) {
            file.read(0, row)?;
        }
        Ok(format!("ok {} {len}", self.rows))
    }

    fn run(&mut self, argument: &str) -> Result<String, Failure> {
        let (seconds, pipeline) = argument
            .split_once(' ')
            .ok_or("expected SECONDS PIPELINE")?;
        let (seconds, pipeline): (f64, Pipeline) = (seconds.parse()?, pipeline.parse()?);
        let len = self.values.len() / self.rows.max(1);
        let rows: Vec<&[f32]> = self.values.chunks_exact(len.max(1)).collect();
        let updates: Vec<Update<'_>> = rows
            .iter()
            .map(|source| Update { source, weight: 1 })
            .collect();
        let begin = Instant::now();
        loop {
            self.result.clear();
            let start = Instant::now();
            aggregate_pipeline(&pipeline, &[0; 32], &updates, &mut self.result)?;
            let taken = start.elapsed().as_secs_f64();
            if begin.elapsed().as_secs_f64() >= seconds {
                return Ok(format!("ms {}", taken * 1e3));
            }
        }
    }

    fn save(&self, path: &str) -> Result<String, Failure> {
        let result = Tensor {
            name: String::new(),
            shape: vec![self.result.len() as u64],
        };
        let mut file = OutputFile::create(path, &[result])?;
        file.write(&self.result)?;
        file.finish()?;
        Ok("ok".into())
    }
}

/// Bytes over the best time, in 10^9 a second.
fn read_bandwidth() -> f64 {
    let words = vec![1_u64; BANDWIDTH_WORDS];
    let best = (0..BANDWIDTH_RUNS)
        .map(|_| {
            let start = Instant::now();
            let sum: u64 = words
                .par_chunks(1 << 16)
                .map(|part| part.iter().sum::<u64>())
                .sum();
            black_box(sum);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    (BANDWIDTH_WORDS * 8) as f64 / best / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_load_run_and_save() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let rows = Tensor {
            name: String::new(),
            shape: vec![3, 2],
        };
        let mut file = OutputFile::create(path("rows.npy"), &[rows]).unwrap();
        file.write(&[1.0, 2.0, 3.0, 40.0, 5.0, 6.0]).unwrap();
        file.finish().unwrap();

        let mut bench = Bench::default();
        let mut ask = |command: &str, argument: &str| bench.answer(command, argument);
        assert_eq!(ask("load", &path("rows.npy")).unwrap(), "ok 3 2");
        let time = ask("run", "0.01 trimmed-mean:f=1").unwrap();
        assert!(time.strip_prefix("ms ").unwrap().parse::<f64>().unwrap() > 0.0);
        assert_eq!(ask("save", &path("result.npy")).unwrap(), "ok");
        let result = UpdateFile::open(path("result.npy")).unwrap();
        let mut values = [0.0; 2];
        result.read(0, &mut values).unwrap();
        assert_eq!((result.len(), values), (2, [3.0, 6.0]));

        for wrong in ["0 krum:f=9", "median", "x median", "0 average"] {
            assert!(ask("run", wrong).is_err(), "{wrong}");
        }
        assert!(ask("load", &path("absent.npy")).is_err());
        assert!(
            ask("stop", "")
                .unwrap_err()
                .to_string()
                .contains("\"stop\"")
        );
    }
}
