"""simlab drill: cases to solve."""

import argparse


def drill_command(args: argparse.Namespace) -> int:
    """simlab drill new, look and grade."""
    from simlab.lab.case import POINTS, Answer, grade, new_case

    if args.what == "new":
        print("playing six weeks of a shop: a quarter of a minute", flush=True)
        case = new_case(args.seed, args.out)
        print(f"a case is in {case}: begin with {case / 'READ_ME.txt'}")
    elif args.what == "look":
        _look(args)
    else:
        answer = Answer(fault=args.fault, day=args.day, cure=args.cure, acted=args.acted)
        print("playing the shop again, without the fault, with it, and cured: about a minute\n", flush=True)
        told = grade(args.case, args.seed, answer)
        for name, points in told.points.items():
            print(f"{name:12}{points:5.0f} of {POINTS[name]}")
        print(f"{'':12}{told.total:5.0f} of 100\n")
        if told.truth["fault"] == "nothing":
            print("Nothing had happened.")
            return 0
        since = "" if told.truth["day"] is None else f", from day {told.truth['day']} on"
        print(f"It was {told.truth['fault']}{since}: {told.truth['says']}\nIt shows: {told.truth['signature']}.")
        print(f"The watch: {told.alert or 'silent'}. The cure: {told.truth['cure']}.")
        if told.best > 0:
            print(f"It cost {told.lost:,.0f} euros of margin; cured at once {told.best:,.0f} of them are saved", end="")
            print(f", by your answer {told.saved:,.0f}.")
    return 0


def _look(args: argparse.Namespace) -> None:
    from simlab.lab.case import look

    told, found = look(args.case, args.days, args.until, args.known)
    if told is None:
        print("nothing was shown on these days")
    else:
        print(f"days {told.first_day} to {told.last_day}, as known on the evening of day {told.known_day}\n")
        for row in told.rates[(told.rates["by"] == args.by) & (told.rates["users"] > 0)].itertuples():
            ripe = "" if row.ripe else "   not ripe: more is to come"
            interval = f"{row.low:.3f} to {row.high:.3f}" if row.low == row.low else "too little for an interval"
            metric = row.metric.replace("_per_", " a ").replace("_", " ")
            print(f"{metric:21}{row.group:26}{row.value:9.3f}   {interval}{ripe}")
        print("\nslates by rung: " + ", ".join(f"{name} {share:.1%}" for name, share in told.rungs.items()))
    print("\nnothing is wrong with the data of these days" if not found else "\nwrong with the data:")
    for one in found:
        print(f"    day {one.day}, {one.severity}, {one.check}: {one.evidence}")
