"""simlab drill: cases to solve."""

import argparse


def drill_command(args: argparse.Namespace) -> int:
    """simlab drill new, look and grade."""
    from simlab.lab.case import POINTS, Answer, grade, look, new_case

    if args.what == "new":
        case = new_case(args.seed, args.out)
        print(f"a case is in {case}: begin with {case / 'READ_ME.txt'}")
    elif args.what == "look":
        told, found = look(args.case, args.days, args.until)
        print(f"days {told.first_day} to {told.last_day}, as known on the evening of day {told.known_day}\n")
        rows = told.rates[(told.rates["by"] == args.by) & (told.rates["users"] > 0)]
        for row in rows.itertuples():
            ripe = "" if row.ripe else "   not ripe"
            print(f"{row.metric:21}{row.group:26}{row.value:9.3f}   {row.low:.3f} to {row.high:.3f}{ripe}")
        print("\nrungs: " + ", ".join(f"{name} {share:.1%}" for name, share in told.rungs.items()))
        for one in found:
            print(f"day {one.day}, {one.severity}, {one.check}: {one.evidence}")
    else:
        answer = Answer(fault=args.fault, day=args.day, cure=args.cure, acted=args.acted)
        told_grade = grade(args.case, args.seed, answer)
        for name, points in told_grade.points.items():
            print(f"{name:12}{points:5.0f} of {POINTS[name]}")
        print(f"{'':12}{told_grade.total:5.0f} of 100\n")
        truth = told_grade.truth
        since = "" if truth["day"] is None else f", from day {truth['day']} on"
        print(f"It was {truth['fault']}{since}: {truth['says']}\nIt shows: {truth.get('signature', 'nothing at all')}.")
        lost = "It cost no money." if told_grade.lost <= 0 else f"It cost {told_grade.lost:,.0f} euros of margin; "
        saved = "" if told_grade.lost <= 0 else f"your cure saves {told_grade.saved:,.0f}."
        print(f"The cure: {truth['cure']}. {lost}{saved}")
    return 0
