//! The file of results, runs that go on where they stopped, and the reports.

use std::fs::{OpenOptions, read_to_string};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use cifer_lab::{
    AttackSpec, Finished, History, LabError, Matrix, Outcome, Progress, RunOptions, Store,
    Training, report, run,
};
use cifer_training::{DatasetKind, ModelKind, Partition};

fn matrix() -> Matrix {
    Matrix {
        dataset: DatasetKind::Digits,
        model: ModelKind::Softmax,
        honest: 5,
        training: Training {
            rounds: 4,
            batch_size: 8,
            learning_rate: 0.2,
            momentum: 0.0,
            weight_decay: 0.0,
            logit_adjustment: 0.0,
            averaging: 0.0,
            evaluate_every: 2,
            search_every: 1,
            search_coordinates: 0,
        },
        partitions: vec![Partition::Iid, Partition::Similarity { gamma: 0.0 }],
        byzantine: vec![1],
        pipelines: vec!["fedavg".into(), "clip,trimmed-mean".into()],
        histories: vec![History::None],
        attacks: vec![AttackSpec::NONE, "ipm".parse().unwrap()],
        seeds: vec![1],
    }
}

fn train(store: &mut Store, matrix: &Matrix) -> (Vec<Finished>, usize) {
    let trained = AtomicUsize::new(0);
    let options = RunOptions {
        threads: Some(2),
        mnist_dir: None,
    };
    let count = |progress: Progress<'_>| {
        if matches!(progress, Progress::Finished(_)) {
            trained.fetch_add(1, Ordering::Relaxed);
        }
    };
    let finished = run(&matrix.cells(), store, &options, &count).unwrap();
    (finished, trained.into_inner())
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells.jsonl");
    let mut first = matrix();
    first.attacks.truncate(1);
    let (_, trained) = train(&mut Store::open(&path).unwrap(), &first);
    assert_eq!(trained, 4);

    // Stopped in the middle of a line.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"cell\":{\"datas").unwrap();
    let (all, trained) = train(&mut Store::open(&path).unwrap(), &matrix());
    assert_eq!((all.len(), trained), (8, 4));
    let cells: Vec<_> = all.iter().map(|finished| finished.cell.clone()).collect();
    assert_eq!(cells, matrix().cells());

    let text = read_to_string(&path).unwrap();
    let (again, trained) = train(&mut Store::open(&path).unwrap(), &matrix());
    assert_eq!((again, trained), (all, 0));
    assert_eq!(read_to_string(&path).unwrap(), text);
}

#[test]
fn a_whole_line_that_is_no_cell_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells.jsonl");
    let mut one = matrix();
    one.attacks.truncate(1);
    train(&mut Store::open(&path).unwrap(), &one);
    let broken = read_to_string(&path).unwrap() + "{}\n";
    std::fs::write(&path, broken).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, LabError::Results { line: 5, .. }),
        "{error}"
    );
}

#[test]
fn of_a_cell_that_is_in_the_file_twice_the_later_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells.jsonl");
    let mut store = Store::open(&path).unwrap();
    let finished = |accuracy| Finished {
        cell: matrix().cells().remove(0),
        outcome: Outcome {
            accuracy: vec![accuracy],
            remark: None,
            seconds: 0.5,
        },
    };
    store.append(finished(0.25)).unwrap();
    store.append(finished(0.75)).unwrap();
    for store in [store, Store::open(&path).unwrap()] {
        let later = finished(0.75);
        assert_eq!(store.get(&later.cell).unwrap(), Some(&later));
    }
}

#[test]
fn a_setting_out_of_range_ends_a_run_before_its_first_cell() {
    let changes: [fn(&mut Matrix); 8] = [
        // Bulyan refuses one attacker among six, so that this cell would never make a worker.
        |m| {
            m.pipelines = vec!["bulyan".into()];
            m.training.momentum = f32::NAN;
        },
        |m| m.training.logit_adjustment = f32::INFINITY,
        |m| m.training.batch_size = 0,
        |m| m.training.learning_rate = f32::NAN,
        |m| m.training.averaging = f32::NAN,
        |m| m.partitions.push(Partition::Dirichlet { alpha: f64::NAN }),
        |m| m.attacks.push(m.attacks[1].with_strength(f64::NAN)),
        |m| m.pipelines.push("clip,trimed-mean".into()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells.jsonl");
    for (index, change) in changes.iter().enumerate() {
        let mut matrix = matrix();
        change(&mut matrix);
        let mut store = Store::open(&path).unwrap();
        let options = RunOptions::default();
        let result = run(&matrix.cells(), &mut store, &options, &|_| {});
        assert!(result.is_err(), "{index}");
        assert_eq!(read_to_string(&path).unwrap(), "", "{index}");
    }
}

#[test]
fn a_cell_is_in_the_file_before_anybody_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells.jsonl");
    let mut store = Store::open(&path).unwrap();
    let kept = |progress: Progress<'_>| {
        if let Progress::Finished(finished) = progress {
            let line = serde_json::to_string(finished).unwrap() + "\n";
            assert!(read_to_string(&path).unwrap().contains(&line));
        }
    };
    run(&matrix().cells(), &mut store, &RunOptions::default(), &kept).unwrap();
}

/// Cells of one partition and pipeline with these curves, under `none`, `ipm` and `alie`, for f = 1 and 2.
fn finished() -> Vec<Finished> {
    let matrix = Matrix {
        partitions: vec![Partition::Similarity { gamma: 0.33 }],
        byzantine: vec![1, 2],
        pipelines: vec!["clip,trimmed-mean".into()],
        attacks: ["none", "ipm", "alie"]
            .map(|name| name.parse().unwrap())
            .to_vec(),
        seeds: vec![1, 2],
        ..matrix()
    };
    let curves = [
        // Seed 1: f = 1, then f = 2.
        [0.9, 0.8],
        [0.5, 0.7],
        [0.6, 0.4],
        [0.8, 0.8],
        [0.3, 0.2],
        [0.4, 0.1],
        // Seed 2.
        [0.9, 0.8],
        [0.7, 0.5],
        [0.6, 0.2],
        [0.8, 0.8],
        [0.1, 0.2],
        [0.0, 0.0],
    ];
    let cells = matrix.cells().into_iter().zip(curves);
    cells
        .map(|(cell, curve)| Finished {
            cell,
            outcome: Outcome {
                accuracy: curve.to_vec(),
                remark: None,
                seconds: 1.0,
            },
        })
        .collect()
}

#[test]
fn tables_hold_the_best_look_of_the_mean_and_the_worst_attack() {
    let finished = finished();
    let summary = report::Summary::of(&finished);
    let tables = report::markdown(&finished, &summary);
    // f = 1: ipm has 0.6 at both looks in the mean, alie 0.6 at the first; the lower index wins.
    let best =
        "| `clip,trimmed-mean` | similarity:0.33 | 0.600 (ipm) | 0.200 (ipm) | 0.900 | 0.800 |";
    let last =
        "| `clip,trimmed-mean` | similarity:0.33 | 0.300 (alie) | 0.050 (alie) | 0.800 | 0.800 |";
    assert!(tables.contains(best), "{tables}");
    assert!(tables.contains(last), "{tables}");
    let csv = report::csv(&finished);
    assert_eq!(csv.lines().count(), 13);
    let columns = csv.lines().next().unwrap().split(',').count();
    let line = csv.lines().nth(2).unwrap();
    assert!(
        line.starts_with(
            "digits,softmax,similarity:0.33,5,1,1,\"clip,trimmed-mean\",none,ipm,1,4,"
        )
    );
    // The quoted field has one comma.
    assert_eq!(line.split(',').count(), columns + 1);
    assert!(line.ends_with(",0.7000,0.7000,1.00,"), "{line}");
}

#[test]
fn heat_maps_show_every_value() {
    let dir = tempfile::tempdir().unwrap();
    let paths = report::write(dir.path(), &finished()).unwrap();
    assert_eq!(paths.len(), 4);
    let svg = read_to_string(dir.path().join("worst.svg")).unwrap();
    for value in [">0.60<", ">0.20<", ">f = 1<", ">similarity:0.33<"] {
        assert!(svg.contains(value), "{value} in {svg}");
    }
    let panel = report::Panel {
        title: "a < b & c".into(),
        rows: vec!["r".into()],
        columns: vec!["c".into()],
        values: vec![vec![None]],
    };
    let svg = report::heat_map("t", &[panel]);
    assert!(svg.contains("a &lt; b &amp; c") && svg.contains(">-<"));
    assert!(report::heat_map("nothing", &[]).ends_with("</svg>\n"));
}
