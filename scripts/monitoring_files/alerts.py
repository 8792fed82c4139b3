"""What somebody is told of. Each has its section in docs/OPERATIONS.md."""

from monitoring_files.rules import Alert
from monitoring_files.times import Times


def alerts(times: Times) -> tuple[Alert, ...]:
    return (*_services(times), *_work(times), *_runners(times), *_gpus(), *_sinks(times))


def _services(times: Times) -> tuple[Alert, ...]:
    recent = times.look(300)
    return (
        Alert(
            name="VllmBatchServiceDown",
            severity="critical",
            expr='up{job=~"vllm-batch-.+"} == 0',
            for_s=120,
            summary="{{ $labels.job }} on {{ $labels.instance }} shows no metrics",
            description="The process is gone, suspended or cannot be reached.",
        ),
        Alert(
            name="VllmBatchNoScheduler",
            severity="critical",
            expr="(sum(vllm_batch_scheduler_lease_held) or vector(0)) < 1",
            for_s=60,
            summary="No scheduler holds the lease",
            description="Nothing is validated, released or finished; runners do what they hold.",
        ),
        Alert(
            name="VllmBatchNatsDown",
            severity="critical",
            expr="vllm_batch_nats_connected == 0",
            for_s=60,
            summary="{{ $labels.job }} on {{ $labels.instance }} has lost NATS",
            description="Chunks reach no runner; nothing is lost, and all goes on by itself.",
        ),
        Alert(
            name="VllmBatchOutboxStuck",
            severity="critical",
            expr=f"max(vllm_batch_outbox_lag_seconds) > {times.number(60)}",
            for_s=60,
            summary="Events wait to become messages for {{ $value | humanizeDuration }}",
            description="New chunks and ends of batches are rows, and nobody is told of them.",
        ),
        Alert(
            name="VllmBatchWorkFailing",
            severity="warning",
            expr="60 * sum by (job, instance, work)"
            f" (rate(vllm_batch_work_failures_total[{recent}])) > 1",
            for_s=300,
            summary="{{ $labels.work }} keeps failing in {{ $labels.job }}",
            description="What it needs is away: the log's `work_failed` of {{ $labels.instance }} "
            "names it.",
        ),
        Alert(
            name="VllmBatchDatabaseSlow",
            severity="warning",
            expr="histogram_quantile(0.9, sum by (job, le)"
            f" (rate(vllm_batch_database_write_seconds_bucket[{recent}]))) > 1",
            for_s=600,
            summary="Writes of {{ $labels.job }} take {{ $value | humanizeDuration }}",
            description="Claims, commits and the API wait for the database.",
        ),
        Alert(
            name="VllmBatchEventLoopBlocked",
            severity="warning",
            expr="histogram_quantile(0.9, sum by (job, instance, le)"
            f" (rate(vllm_batch_event_loop_lag_seconds_bucket[{recent}]))) > 1",
            for_s=300,
            summary="{{ $labels.job }} on {{ $labels.instance }} does not get to its work",
            description="The machine has too little CPU or memory, or the process is suspended.",
        ),
        Alert(
            name="VllmBatchApiErrors",
            severity="critical",
            expr="vllm_batch:api_errors_ratio > 0.05",
            for_s=300,
            summary="{{ $value | humanizePercentage }} of the API's answers are 5xx",
            description="The database or the blob store does not answer the gateway.",
        ),
    )


def _work(times: Times) -> tuple[Alert, ...]:
    runners = "max by (model) (vllm_batch_model_runners) > 0"
    return (
        Alert(
            name="VllmBatchNoRunner",
            severity="critical",
            expr=f"vllm_batch:backlog_requests > 0 unless on (model) ({runners})",
            for_s=300,
            summary="{{ $value }} requests for {{ $labels.model }}, and nobody serves it",
            description="Batches wait, and expire at the end of their windows.",
        ),
        Alert(
            name="VllmBatchStalled",
            severity="critical",
            expr=f"vllm_batch:backlog_requests > 0 and on (model) ({runners}) and on (model)"
            " (sum by (model) "
            f"(increase(vllm_batch_runner_requests_total[{times.look(600)}])) == 0)",
            for_s=300,
            summary="{{ $labels.model }} has runners and work, and no result comes",
            description="Engines hang, or runners do not get the chunks.",
        ),
        Alert(
            name="VllmBatchDeadlineAtRisk",
            severity="warning",
            expr="min by (model) (vllm_batch_deadline_margin_seconds) < 0",
            for_s=300,
            summary="A batch for {{ $labels.model }} will not be done within its window",
            description="At today's rate {{ $value | humanizeDuration }} are missing.",
        ),
        Alert(
            name="VllmBatchRequestsFailing",
            severity="warning",
            expr="vllm_batch:failed_requests_ratio > 0.1",
            for_s=300,
            summary="{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} "
            "fail",
            description="Their lines are in the error files of the batches.",
        ),
        Alert(
            name="VllmBatchChunksRepaired",
            severity="warning",
            expr=f"sum(increase(vllm_batch_chunk_repairs_total[{times.look(3600)}])) > 5",
            for_s=0,
            summary="The scheduler put {{ $value | humanize }} chunks right",
            description="NATS loses messages, or runners die at the end of chunks.",
        ),
    )


def _runners(times: Times) -> tuple[Alert, ...]:
    return (
        Alert(
            name="VllmBatchEngineDown",
            severity="critical",
            expr="vllm_batch_runner_engine_up == 0",
            for_s=900,
            summary="The engine of {{ $labels.instance }} does not serve",
            description="It does not start, or has loaded its model for a quarter of an hour.",
        ),
        Alert(
            name="VllmBatchEngineRestarting",
            severity="warning",
            expr="sum by (instance)"
            f" (increase(vllm_batch_runner_engine_restarts_total[{times.look(1800)}])) > 3",
            for_s=0,
            summary="The engine of {{ $labels.instance }} dies again and again",
            description="Each time what is in flight is computed again.",
        ),
        Alert(
            name="VllmBatchRequestKillsEngine",
            severity="warning",
            expr="sum by (model, code)"
            f" (increase(vllm_batch_runner_requests_convicted_total[{times.look(3600)}])) > 0",
            for_s=0,
            summary="The engine ends whenever it runs certain requests for {{ $labels.model }}",
            description="They were given up with the code {{ $labels.code }}; all others go on.",
        ),
        Alert(
            name="VllmBatchResultsNotSaved",
            severity="critical",
            expr="sum by (instance)"
            f" (increase(vllm_batch_runner_flush_failures_total[{times.look(300)}])) > 3",
            for_s=0,
            summary="{{ $labels.instance }} cannot save results",
            description="The blob store is away or full; results wait in the runner's memory.",
        ),
    )


def _gpus() -> tuple[Alert, ...]:
    gpu = "GPU {{ $labels.gpu }} of {{ $labels.instance }}"
    return (
        Alert(
            name="VllmBatchGpuDegraded",
            severity="warning",
            expr="vllm_batch_gpu_health == 1",
            for_s=300,
            summary=f"{gpu} is degraded",
            description="The runner gives it fewer requests; its log and /readyz say why.",
        ),
        Alert(
            name="VllmBatchGpuCritical",
            severity="critical",
            expr="vllm_batch_gpu_health == 2",
            for_s=0,
            summary=f"{gpu} is critical",
            description="The runner has handed its chunks back; its log and /readyz say why.",
        ),
    )


def _sinks(times: Times) -> tuple[Alert, ...]:
    return (
        Alert(
            name="VllmBatchDeliveriesLate",
            severity="warning",
            expr="max by (sink) (vllm_batch_delivery_oldest_pending_seconds)"
            f" > {times.number(3600)}",
            for_s=300,
            summary="{{ $labels.sink }} has waited {{ $value | humanizeDuration }} for a batch",
            description="Its receiver is away, or refuses; `vllm-batch sinks list` says why.",
        ),
        Alert(
            name="VllmBatchDeliveriesGivenUp",
            severity="warning",
            expr="sum by (sink) (increase("
            f'vllm_batch_sinks_deliveries_total{{outcome="failed"}}[{times.look(3600)}])) > 0',
            for_s=0,
            summary="Deliveries to {{ $labels.sink }} were given up",
            description="`vllm-batch sinks redrive` tries them again.",
        ),
    )
