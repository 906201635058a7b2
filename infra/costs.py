#!/usr/bin/env python3
"""What Token Keeper costs a month: units, then dollars.

Prices are those of us-east-1 on 21 November 2026. COSTS.md explains them and says which are
confirmed. A month has 30 days. After a change here, put the output into COSTS.md.
"""

from math import ceil

SIZES = 1, 100, 1_000, 10_000  # connections
INTERVAL = 900  # seconds between two runs
RUNS = 30 * 24 * 3600 // INTERVAL  # 2,880
# A connection is due at 2,100 s of life. One interval after a mint it has 2,700 s left, after two
# 1,800 s.
MINTS = RUNS // 2
MARGIN, SHARE = 2100, 7 / 12  # seconds; the most of a token's life, for other providers than Zoho
LIVES = 1_800, 3_600  # seconds that a token of a rotating provider lives
# What a mint needs more if the provider rotates refresh tokens. The secret is read once more, the
# new version is put, and its label moved. The claim takes two puts, a read and a removal; all but
# the removal are encrypted or decrypted.
ROTATING_SECRET_CALLS, ROTATING_INTERACTIONS, ROTATING_KMS = 3, 4, 3

# AWS does not say how it bills a BatchGetSecretValue of 20 secrets: 1 means 20 calls, 20 means one.
SECRETS_A_CALL = 1
ONE_RUN = 500  # with more connections, a run only sends chunks to the queue
CHUNK = 100  # connections in a chunk
WORKERS = 2  # chunks in work at the same time (MaximumConcurrency)
READ_RATE = 10  # Parameter Store reads a second when an instance starts; later it reads faster
PUT_RATE, PUT_RATE_HIGHER = 3, 10  # the account's puts a second: default, higher throughput
PACE = 0.95  # the part of that rate that one or two instances reach (make bench)
BASE_SECONDS = 0.5  # of an invocation, without Parameter Store: Zoho, Secrets Manager, a cold start
# Each of Lambda's five pollers waits 20 s at an idle queue. For a FIFO queue, AWS's guide does not
# say how many pollers there are; the same are assumed.
POLLS = 5 * 30 * 24 * 3600 // 20
MEMORY_GB = 128 / 1024
KB_IN_GB = 1_000_000
LOG_KB, SENT_KB = 2, 2  # the log of an invocation; the request and TLS handshake of a mint

# Service, unit, dollars, for how many units, how many are always free, and the page with the price.
PRICES = [
    ("Secrets Manager", "secrets", 0.40, 1, 0, "aws.amazon.com/secrets-manager/pricing"),
    ("Secrets Manager", "calls", 0.05, 10_000, 0, "aws.amazon.com/secrets-manager/pricing"),
    ("KMS", "requests", 0.03, 10_000, 20_000, "aws.amazon.com/kms/pricing"),
    ("Parameter Store", "paid interactions", 0.05, 10_000, 0, "aws.amazon.com/systems-manager/pricing"),
    ("Lambda", "requests", 0.20, 1_000_000, 1_000_000, "aws.amazon.com/lambda/pricing"),
    ("Lambda", "GB-seconds, arm64", 0.0000133334, 1, 400_000, "aws.amazon.com/lambda/pricing"),
    # A million requests are free, for both kinds of queue together. These two shares add up to it.
    ("SQS", "requests", 0.40, 1_000_000, 1_000_000 - POLLS, "aws.amazon.com/sqs/pricing"),
    ("SQS", "FIFO requests", 0.50, 1_000_000, POLLS, "aws.amazon.com/sqs/pricing"),
    ("CloudWatch", "custom metrics", 0.30, 1, 10, "aws.amazon.com/cloudwatch/pricing"),
    ("CloudWatch", "alarms", 0.10, 1, 10, "aws.amazon.com/cloudwatch/pricing"),
    ("CloudWatch", "dashboards", 3.00, 1, 3, "aws.amazon.com/cloudwatch/pricing"),
    ("CloudWatch", "GB of logs", 0.50, 1, 5, "aws.amazon.com/cloudwatch/pricing"),
    ("Scheduler", "invocations", 1.00, 1_000_000, 14_000_000, "aws.amazon.com/eventbridge/pricing"),
    ("HTTP API", "requests", 1.00, 1_000_000, 0, "aws.amazon.com/api-gateway/pricing"),
    ("Data transfer", "GB to Zoho", 0.09, 1, 100, "aws.amazon.com/ec2/pricing/on-demand"),
]
OWN_KEY = 1.00  # aws.amazon.com/kms/pricing


def units(n):
    """The units that n connections use in a month, in the order of PRICES."""
    chunks = ceil(n / CHUNK) if n > ONE_RUN else 0
    pages = ceil((n + 2) / 100) if chunks else 0  # of ListSecrets, when a run sends chunks
    jobs = chunks or 1  # invocations in one interval that read and mint
    invocations = RUNS * (jobs + 1 if chunks else 1)
    higher = n / 2 / INTERVAL > PUT_RATE  # each run renews half of the connections
    put_rate = PACE * (PUT_RATE_HIGHER if higher else PUT_RATE) / min(jobs, WORKERS)
    job_seconds = BASE_SECONDS + ceil(n / jobs / 10) / READ_RATE + n / jobs / 2 / put_rate
    sending_seconds = BASE_SECONDS + pages / 10 if chunks else 0
    documents = n * (RUNS + MINTS)  # each run decrypts a document, each mint encrypts it
    return [
        n + 2,  # with the client and the signing key
        # Each job also reads the client's secret.
        RUNS * (jobs * ceil((n / jobs + 1) / SECRETS_A_CALL) + pages),
        documents,
        documents if higher else 0,  # free at default throughput
        invocations,
        RUNS * (jobs * job_seconds + sending_seconds) * MEMORY_GB,
        POLLS + RUNS * chunks * 3,  # sent, received, deleted
        POLLS,  # nobody complains
        10,
        11,  # ten alarms; one looks at two metrics and counts as two
        1,
        invocations * LOG_KB / KB_IN_GB,
        RUNS,
        n * 3,  # as if each connection had a consent in this month
        n * MINTS * SENT_KB / KB_IN_GB,
    ]


def rotating(life):
    """What a connection uses more in a month if its provider rotates refresh tokens.

    Mints, secret calls, KMS requests, interactions with parameters.
    """
    mints = RUNS // ceil((life - min(MARGIN, SHARE * life)) / INTERVAL)
    published = mints - MINTS  # more often than the tokens above
    return mints, mints * ROTATING_SECRET_CALLS, mints * ROTATING_KMS + published, mints * ROTATING_INTERACTIONS + published


def row(label, cells, decimals=2):
    print(f"{label:<50}" + "".join(f"{cell:>12,.{decimals}f}" for cell in cells))


def bill(used, with_free_units):
    """Dollars by service, rounded to cents."""
    dollars = {}
    for amount, (service, _, price, per, free, _) in zip(used, PRICES):
        paid = max(0, amount - free) if with_free_units else amount
        dollars[service] = dollars.get(service, 0) + paid * price / per
    return {service: round(cost, 2) for service, cost in dollars.items()}


def main():
    used = [units(n) for n in SIZES]
    row("UNITS A MONTH for connections:", SIZES, 0)
    for (service, unit, price, per, *_), amounts in zip(PRICES, zip(*used)):
        dollars = f"{price:.2f}" if price >= 0.01 else f"{price:.10f}"
        row(f"{service}: {unit}, ${dollars}" + (f" for {per:,}" if per > 1 else ""), amounts, 2 if "GB " in unit else 0)
    print()
    row("PARAMETER STORE CALLS A SECOND, mean: read", [ceil(n / 10) / INTERVAL for n in SIZES])
    row(f"put (quota {PUT_RATE}, higher throughput {PUT_RATE_HIGHER})", [n / 2 / INTERVAL for n in SIZES])
    print()
    row("DOLLARS A MONTH for connections:", SIZES, 0)
    bills = [bill(amounts, True) for amounts in used]
    for service in bills[0]:
        row(service, [dollars[service] for dollars in bills])
    totals = [sum(dollars.values()) for dollars in bills]
    row("Total", totals)
    row("for one connection", [total / n for total, n in zip(totals, SIZES)])
    row("Total without the free allowances", [sum(bill(amounts, False).values()) for amounts in used])
    row("Total with a KMS key of your own", [total + OWN_KEY for total in totals])
    print()
    row("A ROTATING CONNECTION, MORE, with tokens of seconds:", LIVES, 0)
    more = list(zip(*map(rotating, LIVES)))
    row("new refresh tokens a day", [mints / 30 for mints in more[0]], 0)
    for label, amounts in zip(("Secrets Manager: calls", "KMS: requests", "Parameter Store: interactions"), more[1:]):
        row(label, amounts, 0)
    price = {(service, unit): dollars / per for service, unit, dollars, per, *_ in PRICES}
    calls, requests, interactions = (
        price["Secrets Manager", "calls"], price["KMS", "requests"], price["Parameter Store", "paid interactions"]
    )  # fmt: skip
    default = [secret * calls + key * requests for secret, key in zip(*more[1:3])]
    row("Dollars a month", default, 3)
    row("Dollars a month with higher throughput", [cost + each * interactions for cost, each in zip(default, more[3])], 3)


if __name__ == "__main__":
    main()
