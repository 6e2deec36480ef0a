#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "metrics/report.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kWidth = 480, kHeight = 220, kLeft = 56, kRight = 10, kTop = 10, kBottom = 24;
constexpr std::size_t kMostPoints = 400;  // of a curve as it is drawn
constexpr std::size_t kSmoothFrom = 40;   // points from which a running mean is drawn over the curve

struct Point {
  double step, mean, low, high;
};

// Neighbouring steps put together until at most kMostPoints are left.
std::vector<Point> thinned(const Curve& curve) {
  const std::size_t width = (curve.size() + kMostPoints - 1) / kMostPoints;
  std::vector<Point> points;
  for (std::size_t begin = 0; begin < curve.size(); begin += width) {
    const std::size_t end = std::min(begin + width, curve.size());
    Point point{0, 0, curve[begin].second, curve[begin].second};
    for (std::size_t i = begin; i < end; ++i) {
      const double value = curve[i].second;
      point.step += static_cast<double>(curve[i].first) / static_cast<double>(end - begin);
      point.mean += value / static_cast<double>(end - begin);
      point.low = std::min(point.low, value);
      point.high = std::max(point.high, value);
    }
    points.push_back(point);
  }
  return points;
}

// The mean over a window of one twentieth of the curve, centred; shorter at both ends.
std::vector<double> running_mean(const std::vector<Point>& points) {
  const std::size_t half = points.size() / 40;
  std::vector<double> means;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::size_t reach = std::min({half, i, points.size() - 1 - i});
    double sum = 0;
    for (std::size_t j = i - reach; j <= i + reach; ++j) sum += points[j].mean;
    means.push_back(sum / static_cast<double>(2 * reach + 1));
  }
  return means;
}

// The smallest of 1, 2, 5 x 10^n that is at least `span`.
double nice_step(double span) {
  const double power = std::pow(10.0, std::floor(std::log10(span)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (span <= factor * power * (1 + 1e-9)) return factor * power;
  return 10 * power;
}

struct Axis {
  double from, to, step;
};
// At most `ticks` intervals of a round length that hold both ends.
Axis axis_of(double low, double high, int ticks) {
  if (!(high > low)) {
    const double pad = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= pad;
    high += pad;
  }
  const double step = nice_step((high - low) / ticks);
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

struct Frame {
  Axis x, y;
  double at_x(double step) const { return kLeft + (step - x.from) / (x.to - x.from) * (kWidth - kLeft - kRight); }
  double at_y(double value) const {
    return kHeight - kBottom - (value - y.from) / (y.to - y.from) * (kHeight - kTop - kBottom);
  }
};

Frame frame_of(const Chart& chart) {
  double low = INFINITY, high = -INFINITY;
  std::int64_t first = INT64_MAX, last = INT64_MIN;
  for (const Series& series : chart.series) {
    first = std::min(first, series.curve.front().first);
    last = std::max(last, series.curve.back().first);
    for (const auto& [step, value] : series.curve) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (chart.share) low = 0;
  if (chart.share && high == 0) high = 0.01;
  Frame frame{axis_of(static_cast<double>(first), static_cast<double>(last), 6), axis_of(low, high, 4)};
  frame.x.from = static_cast<double>(first) - (first == last ? 1 : 0);  // curves reach from edge to edge
  frame.x.to = static_cast<double>(last) + (first == last ? 1 : 0);
  return frame;
}

std::string grid(const Chart& chart, const Frame& f) {
  std::string svg;
  const int lines = static_cast<int>(std::lround((f.y.to - f.y.from) / f.y.step));
  for (int i = 0; i <= lines; ++i) {
    double value = f.y.from + i * f.y.step;
    if (std::abs(value) < f.y.step * 1e-6) value = 0;
    const double y = f.at_y(value);
    svg += fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft, kWidth - kRight, y, y);
    svg += fmt::format(R"(<text x="{}" y="{:.1f}" text-anchor="end">{}{}</text>)", kLeft - 6, y + 4,
                       show_number(chart.share ? 100 * value : value), chart.share ? " %" : "");
  }
  for (double step = std::ceil(f.x.from / f.x.step) * f.x.step; step <= f.x.to; step += std::max(1.0, f.x.step))
    svg +=
        fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{:.0f}</text>)", f.at_x(step), kHeight - 6, step);
  return svg;
}

std::string path_of(const Frame& f, const std::vector<Point>& points, const std::vector<double>& values) {
  std::string path;
  for (std::size_t i = 0; i < points.size(); ++i)
    path += fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L", f.at_x(points[i].step), f.at_y(values[i]));
  return path;
}

std::string draw(const Frame& f, const Series& series) {
  const std::vector<Point> points = thinned(series.curve);
  std::vector<double> means;
  means.reserve(points.size());
  for (const Point& point : points) means.push_back(point.mean);
  std::string svg = fmt::format(R"(<g class="c{}">)", series.colour % kColours);
  if (points.size() < series.curve.size()) {
    std::string band;
    for (const Point& point : points)
      band += fmt::format("{}{:.1f} {:.1f}", band.empty() ? "M" : "L", f.at_x(point.step), f.at_y(point.high));
    for (auto point = points.rbegin(); point != points.rend(); ++point)
      band += fmt::format("L{:.1f} {:.1f}", f.at_x(point->step), f.at_y(point->low));
    svg += fmt::format(R"(<path class="band" d="{}Z"/>)", band);
  }
  const bool smooth = points.size() >= kSmoothFrom;
  svg += fmt::format(R"(<path class="{}" d="{}"/>)", smooth ? "raw" : "line", path_of(f, points, means));
  if (smooth) svg += fmt::format(R"(<path class="line" d="{}"/>)", path_of(f, points, running_mean(points)));
  if (points.size() <= 20)
    for (const Point& point : points)
      svg += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>)", f.at_x(point.step), f.at_y(point.mean));
  return svg + "</g>";
}

}  // namespace

std::string chart_svg(const Chart& chart) {
  const Frame frame = frame_of(chart);
  std::string svg = fmt::format(R"(<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{} by step">)", kWidth,
                                kHeight, escape_html(chart.title));
  svg += grid(chart, frame);
  for (const Series& series : chart.series) svg += draw(frame, series);
  return svg + fmt::format(R"(<line class="cursor" y1="{}" y2="{}" hidden/></svg>)", kTop, kHeight - kBottom);
}

Json chart_data(const Chart& chart) {
  const Frame frame = frame_of(chart);
  Json data;
  data["share"] = chart.share;
  data["from"] = Json::List{frame.x.from, kLeft / kWidth};  // step, share of the picture's width
  data["to"] = Json::List{frame.x.to, 1 - kRight / kWidth};
  data["series"] = Json::List{};
  for (const Series& series : chart.series) {
    Json::List steps, values;
    for (const Point& point : thinned(series.curve)) {
      steps.emplace_back(std::llround(point.step));
      values.emplace_back(std::strtod(fmt::format("{:.5g}", point.mean).c_str(), nullptr));
    }
    Json entry;
    entry["label"] = series.label;
    entry["steps"] = std::move(steps);
    entry["values"] = std::move(values);
    data["series"].push_back(std::move(entry));
  }
  return data;
}

std::string show_number(double value) {
  const double size = std::abs(value);
  if (size >= 1e5 && size < 1e15 && value == std::round(value)) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4g}", value);
}

std::string escape_html(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        // HTML has no control characters besides these three.
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' && c != '\r')
          html += "\xEF\xBF\xBD";
        else
          html += c;
    }
  }
  return html;
}

}  // namespace grpo::inline GRPO_ABI
