//! Pipelines give the same bits for every thread count, instruction set and kind of source, equal to
//! committed digests; and so do the server optimisers for every thread count.

mod common;

use cifer_aggregation::simd::{self, Level};
use cifer_aggregation::{
    FileSource, Optimizer, OptimizerName, Pipeline, Rule, ServerStep, Sink, TILE, VectorSource,
    aggregate_optimized,
};
use common::{ReadOnly, SEED, pipelines, vector, vectors};
use rayon::ThreadPoolBuilder;

/// A digest of results and reports of all pipelines on a round.
fn digest<S: VectorSource>(sources: &[S], threads: usize) -> String {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let mut hasher = blake3::Hasher::new();
    for pipeline in pipelines(sources.len()) {
        let (out, report) = pool.install(|| common::run_pipeline(&pipeline, sources).unwrap());
        hasher.update(pipeline.to_string().as_bytes());
        for x in out {
            hasher.update(&x.to_le_bytes());
        }
        for i in report.selected {
            hasher.update(&(i as u64).to_le_bytes());
        }
        for x in report.shares.into_iter().chain(report.scores) {
            hasher.update(&x.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Round sizes with the digest that every machine must find.
const GOLDEN: [(usize, usize, &str); 4] = [
    (
        1,
        1,
        "a2bb4a80d9eb2b89f4d7d4446f2232896051c86c43ea32e17100b594189043cb",
    ),
    (
        5,
        2 * TILE + 771,
        "f09f57dd3418dbdd46d8fea5f966b28671a5ae7545fd5bc31675bfae7f0b2050",
    ),
    (
        11,
        5 * TILE + 5,
        "234b25d190a8a2f77b4ba7fa6aad4e6f579ef591e8d7ea42e98a3aa839942239",
    ),
    (
        16,
        TILE - 1,
        "ba6c76b5fab3541559752eec1356f219b8271ac7d0a97bfb98503ab6aa8d5713",
    ),
];

#[test]
fn results_are_golden_for_all_thread_counts_instructions_and_sources() {
    // All of them first, so that a change of the format shows every new digest at once.
    let found = GOLDEN.map(|(n, len, _)| (n, len, digest(&vectors(n, len), 1)));
    let golden = GOLDEN.map(|(n, len, golden)| (n, len, golden.to_owned()));
    assert_eq!(found, golden);
    for (n, len, golden) in GOLDEN {
        let v = vectors(n, len);
        for threads in [2, 3, 8] {
            assert_eq!(
                digest(&v, threads),
                golden,
                "n = {n}, d = {len}, {threads} threads"
            );
        }
        for level in Level::available() {
            simd::limit(level);
            assert_eq!(digest(&v, 2), golden, "n = {n}, d = {len}, {level:?}");
        }
        simd::limit(Level::Avx512);
        let read_only: Vec<ReadOnly> = v.iter().cloned().map(ReadOnly).collect();
        assert_eq!(digest(&read_only, 3), golden, "read, n = {n}, d = {len}");
        let files: Vec<_> = v.iter().map(|v| common::write(v)).collect();
        let sources: Vec<_> = files
            .iter()
            .map(|f| FileSource::open(f.path(), len).unwrap())
            .collect();
        assert_eq!(digest(&sources, 2), golden, "files, n = {n}, d = {len}");
    }
}

const OPTIMIZERS: [(OptimizerName, &str); 4] = [
    (
        OptimizerName::Sgd,
        "fa13637bc26032d5f49a33df87bb2362162d4f61d56dbe74a436e61c9291c37a",
    ),
    (
        OptimizerName::FedAvgM,
        "c4dac645920d003df88d272194e95b0c2148d7e2819fb78ed74729f8a45f3887",
    ),
    (
        OptimizerName::FedAdam,
        "03738a11a4bf7c4d60c915fc9ca9b0f7dab6a418697dbd8e15114ebbe5173577",
    ),
    (
        OptimizerName::FedYogi,
        "aa917a9f3279f4e45673f8567db694e39e24901b97d56acfafec70d1eadcc10f",
    ),
];

/// A model and its optimiser's state.
type Trained = (Vec<f32>, Vec<Vec<f32>>);

/// Model and state after one more step.
fn server_step(
    optimizer: Optimizer,
    lr: f32,
    rule: Rule,
    v: &[Vec<f32>],
    (model, state): &Trained,
) -> Trained {
    let mut next = (Vec::new(), vec![Vec::new(); optimizer.state_vectors()]);
    let sources: Vec<&dyn VectorSource> = state.iter().map(|s| s as &dyn VectorSource).collect();
    let mut sinks: Vec<&mut dyn Sink> = next.1.iter_mut().map(|s| s as &mut dyn Sink).collect();
    let step = ServerStep {
        optimizer,
        base: model,
        lr,
        state: &sources,
    };
    let (pipeline, updates) = (Pipeline::from(rule), common::updates(v));
    aggregate_optimized(&pipeline, &SEED, &updates, &step, &mut next.0, &mut sinks).unwrap();
    next
}

/// Model and state after some rounds with this optimiser.
fn train(optimizer: Optimizer, rounds: u64, len: usize) -> Trained {
    let mut trained = (vector(77, len), vec![]);
    for round in 0..rounds {
        let v: Vec<Vec<f32>> = (0..5).map(|i| vector(100 * round + i, len)).collect();
        trained = server_step(optimizer, 0.1, Rule::TrimmedMean { f: 1 }, &v, &trained);
    }
    trained
}

#[test]
fn optimisers_are_golden_for_all_thread_counts() {
    for threads in [1, 3] {
        let found = OPTIMIZERS.map(|(name, _)| {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let (model, state) = pool.install(|| train(name.with_defaults(), 4, 2 * TILE + 9));
            let mut hasher = blake3::Hasher::new();
            for x in model.iter().chain(state.iter().flatten()) {
                hasher.update(&x.to_le_bytes());
            }
            (name, hasher.finalize().to_hex().to_string())
        });
        let golden = OPTIMIZERS.map(|(name, golden)| (name, golden.to_owned()));
        assert_eq!(found, golden, "{threads} threads");
    }
}

#[test]
fn optimisers_follow_their_papers() {
    // One coordinate by hand: deltas 1 and -2, from zero, with lr 1.
    let run = |text: &str| {
        let optimizer: Optimizer = text.parse().unwrap();
        let mut trained = (vec![0.0_f32], vec![]);
        for delta in [1.0_f32, -2.0] {
            trained = server_step(optimizer, 1.0, Rule::Median, &[vec![delta]], &trained);
        }
        let (model, state) = trained;
        (f64::from(model[0]), state)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
    near(run("sgd").0, -1.0);
    // m = 1, then 0.5 - 2.
    near(run("fedavgm:beta=0.5").0, 1.0 - 1.5);
    // m = 0.5, -0.75; v = 0.25 * 0.25 + 0.75, then 0.25 v + 0.75 * 4; tau = 0.5.
    let adam = "fedadam:beta1=0.5,beta2=0.25,tau=0.5";
    let (v1, v2) = (0.8125_f64, 0.25 * 0.8125_f64 + 3.0);
    let (model, state) = run(adam);
    near(model, 0.5 / (v1.sqrt() + 0.5) - 0.75 / (v2.sqrt() + 0.5));
    near(f64::from(state[1][0]), v2);
    // v = 0.25 + 0.75 * 1, then 1 + 0.75 * 4.
    let (model, state) = run("fedyogi:beta1=0.5,beta2=0.25,tau=0.5");
    near(model, 0.5 / 1.5 - 0.75 / 2.5);
    near(f64::from(state[1][0]), 4.0);
}

#[test]
fn optimisers_have_a_text_and_a_table_form_and_limits() {
    for (text, table) in [
        ("sgd", r#"{"name":"sgd"}"#),
        (
            "fedavgm:beta=0.9",
            r#"{"name":"fedavgm","beta_ppm":900000}"#,
        ),
        (
            "fedyogi:beta1=0.9,beta2=0.99,tau=0.001",
            r#"{"name":"fedyogi","beta1_ppm":900000,"beta2_ppm":990000,"tau_ppm":1000}"#,
        ),
    ] {
        let optimizer: Optimizer = text.parse().unwrap();
        assert_eq!(optimizer.to_string(), text);
        assert_eq!(serde_json::to_string(&optimizer).unwrap(), table);
        assert_eq!(serde_json::from_str::<Optimizer>(table).unwrap(), optimizer);
        // A name alone has the defaults of its paper.
        let name = optimizer.name();
        assert_eq!(name.as_str().parse(), Ok(name.with_defaults()));
    }
    let bad = |text: &str| {
        text.parse::<Optimizer>()
            .unwrap()
            .check()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        bad("fedavgm:beta=1"),
        "fedavgm needs beta < 1: beta_ppm = 1000000 gives 1000000 >= 1000000"
    );
    assert_eq!(
        bad("fedadam:tau=0"),
        "fedadam needs tau_ppm >= 1: tau_ppm = 0 gives 0 < 1"
    );
    assert!("adam".parse::<Optimizer>().is_err() && "sgd:beta=1".parse::<Optimizer>().is_err());
}

#[test]
fn bad_optimiser_state_is_refused() {
    let v = vec![vec![1e30_f32; 3]; 3];
    let run = |state: &[&dyn VectorSource], sinks: usize| {
        let base = vec![0.0_f32; 3];
        let mut kept = vec![Vec::new(); sinks];
        let mut sinks: Vec<&mut dyn Sink> = kept.iter_mut().map(|s| s as &mut dyn Sink).collect();
        let step = ServerStep {
            optimizer: OptimizerName::FedAdam.with_defaults(),
            base: &base,
            lr: 1.0,
            state,
        };
        let pipeline = Pipeline::from(Rule::Median);
        let updates = common::updates(&v);
        let outcome = aggregate_optimized(
            &pipeline,
            &SEED,
            &updates,
            &step,
            &mut Vec::new(),
            &mut sinks,
        );
        outcome.unwrap_err().to_string()
    };
    let good = vec![0.0_f32; 3];
    let nan = vec![0.0, f32::NAN, 0.0];
    let short = vec![0.0_f32; 2];
    assert_eq!(
        run(&[], 1),
        "fedadam has 2 state vectors: 1 were given to write"
    );
    assert_eq!(
        run(&[&good], 2),
        "fedadam has 2 state vectors: 1 were given to read"
    );
    assert_eq!(
        run(&[&good, &short], 2),
        "state vector 1 has 2 coordinates, the updates have 3"
    );
    assert_eq!(
        run(&[&good, &nan], 2),
        "state vector 1 is not finite: coordinate 1 is NaN"
    );
    // The square of 1e30 is beyond f32; a second moment of infinity would freeze the model.
    assert_eq!(
        run(&[], 2),
        "state vector 1 is not finite: coordinate 0 is inf"
    );
}
