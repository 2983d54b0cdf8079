//! The same bits for every thread count, instruction set and kind of source, equal to committed
//! digests.

mod common;

use cifer_aggregation::distances::SEGMENT;
use cifer_aggregation::simd::{self, Level};
use cifer_aggregation::{
    AggregationError, Encoding, FileSink, FileSource, MappedSource, Rule, TILE, VectorSource,
    aggregate, aggregate_step,
};
use common::{ReadOnly, rules, updates, vector, vectors, write};
use rayon::ThreadPoolBuilder;

/// A digest of the results (plain and stepped) and selections of all rules on a round.
fn digest<S: VectorSource>(sources: &[S], threads: usize) -> String {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let base = vector(4711, sources[0].len());
    let mut hasher = blake3::Hasher::new();
    for rule in rules(sources.len()) {
        let (mut plain, mut stepped) = (Vec::new(), Vec::new());
        let report = pool.install(|| {
            aggregate_step(&rule, &updates(sources), &base, 0.5, &mut stepped).unwrap();
            aggregate(&rule, &updates(sources), &mut plain).unwrap()
        });
        for x in plain.iter().chain(&stepped) {
            hasher.update(&x.to_le_bytes());
        }
        for i in report.selected {
            hasher.update(&(i as u64).to_le_bytes());
        }
        for score in report.scores {
            hasher.update(&score.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Round sizes with the digest that every machine must find.
const GOLDEN: [(usize, usize, &str); 5] = [
    (
        1,
        1,
        "2adf82bf57256044ec5eeda4b70ae03fb3b80b67b130ce12133d4c10109bc472",
    ),
    (
        5,
        SEGMENT + 3 * TILE + 771,
        "377b49dea57501e1c62ec2f902b76fd718249297bbf9a5b34d8f09af3e858d1f",
    ),
    (
        11,
        20 * TILE + 5,
        "0d570a8edb9b3e963105836efd2ed61e0ff66fee70314b6d042fe4e260558f0f",
    ),
    (
        16,
        TILE - 1,
        "1c5c4d6dab0c9d96fd0b37ad30ae877e6b9f5077bbb4f802cf227388a403f7ee",
    ),
    (
        70,
        2 * TILE + 1,
        "4ddd5e7c3e1064ac4e28b476e41d545d0eb0f1fdf8bbafe22f1a9d84b95995ca",
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
        let files: Vec<_> = v.iter().map(|v| write(v)).collect();
        let sources: Vec<_> = files
            .iter()
            .map(|f| FileSource::open(f.path(), len).unwrap())
            .collect();
        assert_eq!(digest(&sources, 2), golden, "files, n = {n}, d = {len}");
        let mapped: Vec<_> = files
            .iter()
            .map(|f| MappedSource::open(f.path(), Encoding::F32, len).unwrap())
            .collect();
        assert_eq!(digest(&mapped, 2), golden, "mapped, n = {n}, d = {len}");
    }
}

#[test]
fn errors_are_the_same_for_all_thread_counts() {
    let mut v = vectors(9, 40 * TILE);
    v[5][30 * TILE + 7] = f32::NAN;
    v[8][12 * TILE + 300] = f32::INFINITY;
    v[2][12 * TILE + 900] = f32::INFINITY;
    for threads in [1, 2, 3, 8] {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        for rule in rules(9) {
            let outcome = pool.install(|| common::run(rule, &v));
            let expected = format!(
                "update 8 is not finite: coordinate {} is inf",
                12 * TILE + 300
            );
            assert_eq!(
                outcome.unwrap_err().to_string(),
                expected,
                "{rule}, {threads} threads"
            );
        }
    }
}

#[test]
fn a_file_sink_holds_the_result_and_knows_its_hash() {
    let v = vectors(5, 3 * TILE + 9);
    let expected = common::ok(Rule::Median, &v);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let mut sink = FileSink::create(&path).unwrap();
    aggregate(&Rule::Median, &updates(&v), &mut sink).unwrap();
    let digest = sink.finish().unwrap();

    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(digest.hash, blake3::hash(&bytes));
    assert_eq!(digest.len_bytes, bytes.len() as u64);
    let source = FileSource::open(&path, expected.len()).unwrap();
    let mut back = vec![0.0; source.len()];
    source.read(0, &mut back).unwrap();
    assert_eq!(back, expected);
    let mut part = vec![0.0; 2 * TILE];
    source.read(TILE + 3, &mut part).unwrap();
    assert_eq!(part, expected[TILE + 3..][..2 * TILE]);
}

#[test]
fn files_that_are_no_vectors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let open = |max_len| FileSource::open(&path, max_len).map(|s| s.len());
    let missing = open(1).unwrap_err();
    assert!(matches!(missing, AggregationError::Io { .. }));
    assert!(missing.to_string().contains(path.to_str().unwrap()));

    std::fs::write(&path, [0; 13]).unwrap();
    let odd = open(100).unwrap_err().to_string();
    assert!(
        odd.ends_with("13 bytes are not a vector of the expected encoding of at most 400 bytes"),
        "{odd}"
    );
    std::fs::write(&path, [0; 16]).unwrap();
    assert_eq!(open(4).unwrap(), 4);
    assert!(matches!(
        open(3),
        Err(AggregationError::FileSize {
            size_bytes: 16,
            limit_bytes: 12,
            ..
        })
    ));
    assert!(open(usize::MAX).is_ok());

    // A file that shrinks after it was opened is an error, not a short vector.
    let source = FileSource::open(&path, 4).unwrap();
    std::fs::write(&path, [0; 8]).unwrap();
    let outcome = source.read(0, &mut [0.0; 4]);
    assert!(matches!(outcome, Err(AggregationError::Io { .. })));
    assert!(FileSink::create(folder.path().join("no/such/folder")).is_err());
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_are_sources_whatever_their_strides() {
    use ndarray::{Array2, Axis};
    let (n, len) = (5, TILE + 3);
    let v = vectors(n, len);
    let rows = Array2::from_shape_fn((n, len), |(i, k)| v[i][k]);
    let columns = Array2::from_shape_fn((len, n), |(k, i)| v[i][k]);
    let contiguous: Vec<_> = rows.axis_iter(Axis(0)).collect();
    let strided: Vec<_> = columns.axis_iter(Axis(1)).collect();
    assert!(VectorSource::as_slice(&contiguous[1]).is_some());
    assert!(VectorSource::as_slice(&strided[1]).is_none());
    assert!(VectorSource::read(&strided[1], len, &mut [0.0]).is_err());
    assert_eq!(digest(&contiguous, 2), digest(&v, 1));
    assert_eq!(digest(&strided, 2), digest(&v, 1));
}
