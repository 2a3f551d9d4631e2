"""Panels with a common look: a title that asks or names, a description, queries with their legends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE = "$__rate_interval"
HEIGHT = 8
LEGEND = (
    common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
)
TOOLTIP = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
WHOLE, HALF, THIRD, QUARTER = 24, 12, 8, 6

Panels = Iterator[Builder[Panel]]


class Query(NamedTuple):
    """*legend* names a series in a graph, or the column in a table; a column without a name only brings its labels."""

    expr: str
    legend: str
    unit: str = ""


def board(title: str, uid: str, description: str) -> Dashboard:
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["sharded-queue"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("15s")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )


def with_rows(to: Dashboard, rows: Mapping[str, Panels]) -> Dashboard:
    for title, panels in rows.items():
        to = to.with_row(Row(title))
        for panel in panels:
            to = to.with_panel(panel)
    return to


def choice(name: str, query: str) -> QueryVariable:
    """A list of label values to choose from; all are chosen at first."""
    return (
        QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def graph(
    title: str, description: str, *queries: Query, unit: str = "short", span: int = HALF, stacked: bool = False
) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(description).datasource(SOURCE).unit(unit).min(0)
    panel = panel.span(span).height(HEIGHT).legend(LEGEND).tooltip(TOOLTIP)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    for place, query in enumerate(queries):
        panel = panel.with_target(asked(query, place).range())
    return panel


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    alarm: float | None = None,
    least: float | None = None,
    span: int = QUARTER,
) -> stat.Panel:
    """One figure as it is now; red from *alarm* on, and below *least*."""
    steps = [Threshold(value=None, color="green" if least is None else "red")]
    steps += [] if least is None else [Threshold(value=least, color="green")]
    steps += [] if alarm is None else [Threshold(value=alarm, color="red")]
    panel = tile(title, description, span).unit(unit).graph_mode(BigValueGraphMode.AREA)
    panel = panel.color_mode(BigValueColorMode.VALUE)
    panel = panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return panel.with_target(asked(Query(expr, title), 0).range())


def word(title: str, description: str, *queries: Query, span: int, none: str) -> stat.Panel:
    """The legend of the one series that the query returns now; *none* if it returns nothing."""
    panel = tile(title, description, span).text_mode(BigValueTextMode.NAME).no_value(none)
    for place, query in enumerate(queries):
        panel = panel.with_target(asked(query, place).instant())
    return panel


def moment(title: str, description: str, expr: str, *, span: int, none: str) -> stat.Panel:
    """A date and time, from milliseconds since 1970."""
    panel = tile(title, description, span).unit("dateTimeAsIso").no_value(none)
    return panel.with_target(asked(Query(expr, title), 0).instant())


def tile(title: str, description: str, span: int) -> stat.Panel:
    panel = stat.Panel().title(title).description(description).datasource(SOURCE).span(span).height(4)
    return panel.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.NONE)


def listing(
    title: str, description: str, labels: Mapping[str, str], *queries: Query, height: int = HEIGHT
) -> table.Panel:
    """A table: a row for each set of *labels* (label: heading), a column for each query; the first one, which sorts, is
    the first column."""
    panel = table.Panel().title(title).description(description).datasource(SOURCE).span(WHOLE).height(height)
    panel = panel.sort_by([common.TableSortByFieldState().display_name(queries[0].legend).desc(True)])
    for place, query in enumerate(queries):
        panel = panel.with_target(asked(query, place).instant().format(PromQueryFormat.TABLE))
        if query.unit:
            panel = panel.override_by_name(query.legend, [DynamicConfigValue("unit", query.unit)])
    for step in as_one_table(labels, queries):
        panel = panel.with_transformation(step)
    return panel


def as_one_table(labels: Mapping[str, str], queries: Sequence[Query]) -> list[DataTransformerConfig]:
    values = {f"Value #{letter(place)}": query.legend for place, query in enumerate(queries)}
    (first, name), *others = [(value, name) for value, name in values.items() if name]
    names = {first: name, **labels, **dict(others)}
    order = {column: place for place, column in enumerate(names)}
    left_out = {"Time": True, **{value: True for value, name in values.items() if not name}}
    tidy: dict[str, object] = {"renameByName": names, "indexByName": order, "excludeByName": left_out}
    return [DataTransformerConfig(id_val="merge", options={}), DataTransformerConfig(id_val="organize", options=tidy)]


def note(title: str, markdown: str, *, span: int = HALF) -> text.Panel:
    return text.Panel().title(title).mode(TextMode.MARKDOWN).content(markdown).span(span).height(HEIGHT)


def asked(query: Query, place: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(query.expr).legend_format(query.legend).ref_id(letter(place))


def letter(place: int) -> str:
    return chr(ord("A") + place)
