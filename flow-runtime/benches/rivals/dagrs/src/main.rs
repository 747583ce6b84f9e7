//! The shapes that flow's `bench` measures, as graphs of dagrs.
//!
//! `dagrs-rival one chain:100 --repeat 30` prints what was measured as one JSON object: times in seconds, memory in
//! bytes. dagrs leaves the runtime to its caller, so both kinds are measured: `one` thread, which is fastest for tasks
//! that do nothing, and `many`, which dagrs's own examples use and which tasks that compute would need.

use dagrs::tokio::runtime::Builder;
use dagrs::{
    Action, CompletionStatus, Content, DefaultNode, EnvVar, Graph, InChannels, Node, NodeId, NodeTable, OutChannels,
    Output, async_trait::async_trait,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Adds one to the largest number that it is given, and hands that on.
struct Next;

#[async_trait]
impl Action for Next {
    async fn run(&self, inputs: &mut InChannels, outputs: &mut OutChannels, _: Arc<EnvVar>) -> Output {
        let given = inputs.map(|content| content.ok().and_then(|c| c.get::<u64>().copied())).await;
        // A missing value would be a task that ran too early: it gives nothing, and the check at the end fails.
        let Some(given) = given.into_iter().collect::<Option<Vec<u64>>>() else { return Output::empty() };
        let number = given.into_iter().max().unwrap_or(0) + 1;
        outputs.broadcast(Content::new(number)).await;
        Output::new(number)
    }
}

/// A graph, its last node, and the number that must come out there.
struct Built {
    graph: Graph,
    tasks: usize,
    last: NodeId,
    expected: u64,
}

/// dagrs runs a graph once, so each repetition builds its own; that is not timed, as flow's DAG is not built in the
/// measured time either.
fn build(shape: &str) -> Option<Built> {
    let (kind, n) = shape.split_once(':')?;
    let n: usize = n.parse().ok().filter(|n| *n > 0)?;
    let (tasks, expected) = match kind {
        "chain" => (n, n as u64),
        "wide" => (n + 2, 3),
        _ => return None,
    };
    let mut table = NodeTable::new();
    let nodes: Vec<_> = (0..tasks).map(|t| DefaultNode::with_action(format!("t{t}"), Next, &mut table)).collect();
    let ids: Vec<NodeId> = nodes.iter().map(Node::id).collect();
    let mut graph = Graph::new();
    for node in nodes {
        graph.add_node(node).ok()?;
    }
    match kind {
        "chain" => {
            for pair in ids.windows(2) {
                graph.add_edge(pair[0], [pair[1]]).ok()?;
            }
        }
        _ => {
            let middle = &ids[1..=n];
            graph.add_edge(ids[0], middle.iter().copied()).ok()?;
            for id in middle {
                graph.add_edge(*id, [ids[n + 1]]).ok()?;
            }
        }
    }
    graph.set_env(EnvVar::new(table));
    Some(Built { graph, tasks, last: ids[tasks - 1], expected })
}

/// CPU time of this process so far.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Most memory that this process has had, in bytes; nothing where the system does not tell.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kb| kb * 1024)
}

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (threads, shape, repeat, warm) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [threads, shape, "--repeat", n] => (threads, shape, n.parse::<u32>().map_err(|e| e.to_string())?, 1),
        [threads, shape, "--once"] => (threads, shape, 1, 0),
        _ => return Err("usage: dagrs-rival one|many chain:N|wide:N (--repeat N | --once)".into()),
    };
    let mut runtime = match threads {
        "one" => Builder::new_current_thread(),
        "many" => Builder::new_multi_thread(),
        _ => return Err(format!("`{threads}` is no runtime: write one or many")),
    };
    let runtime = runtime.enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(measure(shape, repeat, warm))
}

async fn measure(shape: &str, repeat: u32, warm: u32) -> Result<(), String> {
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for number in 0..repeat + warm {
        let mut built = build(shape).ok_or_else(|| format!("`{shape}` is no shape: write chain:N or wide:N"))?;
        let (cpu, began) = (cpu_seconds(), Instant::now());
        let report = built.graph.async_start().await.map_err(|e| format!("the graph failed: {e:?}"))?;
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let results: HashMap<NodeId, Option<Arc<u64>>> = built.graph.get_results();
        let result = results.get(&built.last).and_then(Option::as_deref).copied();
        if report.status != CompletionStatus::Succeeded
            || report.node_succeeded != built.tasks
            || result != Some(built.expected)
        {
            return Err(format!("{shape} gave {result:?} with {} tasks done: it is no measure", report.node_succeeded));
        }
        if number >= warm {
            walls.push(wall);
            cpus.push(cpu);
        }
    }
    println!("{}", serde_json::json!({"walls": walls, "cpus": cpus, "peak": peak()}));
    Ok(())
}
