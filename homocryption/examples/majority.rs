//! A vote of encrypted signs with its cost: `cargo run --release -p cifer-homocryption --features tfhe
//! --example majority -- [PARAMETERS] [VOTERS] [REPETITIONS]`.

use std::error::Error;
use std::time::{Duration, Instant};

use cifer_homocryption::majority::{Direction, SignSum, majority};
use cifer_homocryption::{Frame, generate_keys};

/// How long `work` took, and what it returned.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// The update of a contributor: a pattern that the others share, with its own disagreements.
fn update(voter: usize, parameters: usize) -> Vec<f32> {
    let sign = |parameter: usize| {
        let common = if parameter.is_multiple_of(3) {
            -1.0
        } else {
            1.0
        };
        let contrary = (parameter * 31 + voter * 17).is_multiple_of(5);
        if contrary { -common } else { common }
    };
    (0..parameters).map(sign).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let parameters = arguments.next().transpose()?.unwrap_or(1000);
    let voters = arguments.next().transpose()?.unwrap_or(9);
    let repetitions = arguments.next().transpose()?.unwrap_or(3).max(1);

    let (time, keys) = timed(generate_keys);
    let (public, private, relin) = keys?;
    println!(
        "keys            {time:>10.2?}  evaluation key {} MB",
        relin.to_bytes().len() >> 20
    );

    let mut ups = vec![0_usize; parameters];
    let mut sum: Option<SignSum> = None;
    let (mut encrypting, mut adding) = (Duration::ZERO, Duration::ZERO);
    for voter in 0..voters {
        let update = update(voter, parameters);
        for (ups, change) in ups.iter_mut().zip(&update) {
            *ups += usize::from(*change > 0.0);
        }
        let (time, vote) = timed(|| SignSum::encrypt_update(&public, &update));
        encrypting += time;
        let vote = vote?;
        match &mut sum {
            None => sum = Some(vote),
            Some(sum) => {
                let (time, added) = timed(|| sum.add_assign(&vote));
                adding += time;
                added?;
            }
        }
    }
    let sum = sum.ok_or("no voters")?;
    let each = |time: Duration, count: usize| time / count.max(1) as u32;
    println!(
        "encrypt         {:>10.2?}  a voter",
        each(encrypting, voters)
    );
    println!(
        "add             {:>10.2?}  a voter",
        each(adding, voters.saturating_sub(1))
    );
    println!("vote            {:>10} bytes", sum.to_bytes().len());

    let mut runs = Vec::new();
    for _ in 0..repetitions {
        let (time, outcome) = timed(|| majority(&sum, &relin));
        runs.push((time, outcome?));
    }
    runs.sort_by_key(|(time, _)| *time);
    let (slowest, _) = runs.last().ok_or("no repetitions")?;
    println!("slowest         {slowest:>10.2?}  of {repetitions}; below is the median");
    let (time, outcome) = runs.swap_remove(repetitions / 2);
    let rate = parameters as f64 / time.as_secs_f64();
    println!(
        "majority        {time:>10.2?}  {:.2?} a parameter, {rate:.0} a second",
        each(time, parameters)
    );
    println!("result          {:>10} bytes", outcome.to_bytes().len());

    let (time, directions) = timed(|| outcome.decrypt(&private));
    println!("decrypt         {time:>10.2?}");
    let expected = ups.iter().map(|ups| match (2 * ups).cmp(&voters) {
        std::cmp::Ordering::Less => Direction::Down,
        std::cmp::Ordering::Equal => Direction::Tie,
        std::cmp::Ordering::Greater => Direction::Up,
    });
    let wrong = directions?
        .into_iter()
        .zip(expected)
        .filter(|(a, b)| a != b)
        .count();
    println!("wrong           {wrong:>10}  of {parameters}");
    if wrong == 0 {
        Ok(())
    } else {
        Err("the encrypted majority differs from the clear one".into())
    }
}
