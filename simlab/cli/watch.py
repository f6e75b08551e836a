"""simlab watch: a report on some days, with the truth beside it."""

import argparse


def watch_command(args: argparse.Namespace) -> int:
    """simlab watch."""
    from simlab.lab.run import load_run
    from simlab.lab.watched import ALERTS, read_alerts
    from simlab.lab.watching import beside_truth, findings, report_of
    from simlab.recsys.alerts import told as alert_lines

    run = load_run(args.run)
    told = report_of(run, args.days, args.until, args.known)
    visits, users = (f"{told.volume[name]:,.0f}" for name in ("visits", "users"))
    print(f"days {told.first_day} to {told.last_day}, as known on the evening of day {told.known_day}")
    print(f"{visits} visits of {users} shoppers; {told.maturity:.0%} of the purchases should be in\n")
    if args.by == "all":
        print(f"{'':21}{'estimate':>9}   {'95 % by shopper':17}{'the truth':>10}")
        for name, row in beside_truth(run, told).iterrows():
            truth = "" if row["truth"] != row["truth"] else f"{row['truth']:.3f}"
            words = "" if row["ripe"] else "   not ripe: more is to come"
            print(f"{_plain(name)}{row['value']:9.3f}   {row['low']:.3f} to {row['high']:.3f}{truth:>13}{words}")
        print(f"{'foreseen from clicks':21}{told.foreseen[0]:9.3f}   {told.foreseen[1]:.3f} to {told.foreseen[2]:.3f}")
    else:
        rates = told.rates[(told.rates["by"] == args.by) & told.rates["ripe"]]
        for metric, rows in rates.groupby("metric", sort=False):
            print(_plain(metric))
            for row in rows.itertuples():
                print(f"    {row.group:26}{row.value:9.3f}   {row.low:.3f} to {row.high:.3f}   {row.users:,} shoppers")
    found = findings(run, told)
    print("\nnothing is wrong with the data of these days" if not found else "\nwrong with the data:")
    for one in found:
        print(f"    day {one.day}, {one.severity}, {one.check}: {one.evidence}\n        look at: {one.look}")
    if (args.run / ALERTS).exists():
        alerts = [one for one in read_alerts(args.run) if told.first_day <= one.day <= told.last_day]
        print("\n" + ("\n".join(alert_lines(alerts)) or "no alerts on these days"))
    return 0


def _plain(name: object) -> str:
    return f"{str(name).replace('_per_', ' a ').replace('_', ' '):21}"
