#include "dist/group.h"

#include <algorithm>
#include <exception>
#include <numeric>

#include "base/log.h"

namespace grpo::inline GRPO_ABI {
namespace {

const char* name(Reduce op) { return op == Reduce::Sum ? "sum" : op == Reduce::Min ? "min" : "max"; }

std::string described(const Call& call) {
  const std::string bytes = " of " + std::to_string(call.bytes) + " bytes";
  const auto pieces = [&] { return bytes + " in pieces of checksum " + std::to_string(call.counts); };
  switch (call.operation) {
    case Operation::AllReduceFloat:
      return std::string("all_reduce<float>") + bytes + ", " + name(static_cast<Reduce>(call.detail));
    case Operation::AllReduceDouble:
      return std::string("all_reduce<double>") + bytes + ", " + name(static_cast<Reduce>(call.detail));
    case Operation::ReduceScatter:
      return "reduce_scatter" + pieces();
    case Operation::AllGather:
      return "all_gather" + pieces();
    case Operation::AllGatherTexts:
      return "all_gather of texts";
    case Operation::AllToAll:
      return "all_to_all";
    case Operation::Broadcast:
      return "broadcast" + bytes + " from rank " + std::to_string(call.detail);
    case Operation::Barrier:
      return "barrier";
    case Operation::Split:
      return "split";
    case Operation::End:
      return "the end of the program";
  }
  return "?";
}

bool agree(const Call& a, const Call& b) {
  const bool sizes_differ_freely = a.operation == Operation::AllGatherTexts || a.operation == Operation::AllToAll;
  return a.operation == b.operation && a.detail == b.detail && a.counts == b.counts &&
         (sizes_differ_freely || a.bytes == b.bytes);
}

}  // namespace

Group::Group(std::shared_ptr<World> world, std::vector<int> members, int channel)
    : world_(std::move(world)),
      members_(std::move(members)),
      channel_number_(channel),
      channel_(world_->transport->open(channel)) {
  const auto self = std::find(members_.begin(), members_.end(), world_->transport->rank());
  GRPO_ASSERT(self != members_.end());
  rank_ = static_cast<int>(self - members_.begin());
  headers_.resize(members_.size());
  world_->groups.push_back(this);
}

Group::~Group() {
  std::erase(world_->groups, this);
  // What a group of some ranks misses is not seen at the end of the program, where all meet.
  const bool torn = state_ == State::Ready && channel_number_ != 0 && std::uncaught_exceptions() > 0;
  if (size() > 1 && (state_ == State::Moving || torn)) world_->abandoned = true;
}

void Group::send(int rank, const std::byte* data, std::size_t bytes) {
  if (bytes > 0 && rank != rank_) sends_.push_back({members_[static_cast<std::size_t>(rank)], data, bytes});
}

void Group::receive(int rank, std::byte* data, std::size_t bytes) {
  if (bytes > 0 && rank != rank_) receives_.push_back({members_[static_cast<std::size_t>(rank)], data, bytes});
}

void Group::start() {
  channel_->start(sends_, receives_);
  sends_.clear();
  receives_.clear();
}

void Group::wait(World::Wait how) {
  world_->wait([this] { return channel_->done(); }, how);
}

void Group::move() {
  start();
  wait(World::Wait::Busy);
}

void Group::start_headers(const Header& mine) {
  headers_[static_cast<std::size_t>(rank_)] = mine;
  const auto* bytes = reinterpret_cast<const std::byte*>(&headers_[static_cast<std::size_t>(rank_)]);
  for (int r = 0; r < size(); ++r) {
    send(r, bytes, sizeof(Header));
    receive(r, reinterpret_cast<std::byte*>(&headers_[static_cast<std::size_t>(r)]), sizeof(Header));
  }
  start();
}

int Group::first_failed() const {
  const auto failed = std::find_if(headers_.begin(), headers_.end(), [](const Header& h) { return h.failed != 0; });
  return failed == headers_.end() ? -1 : static_cast<int>(failed - headers_.begin());
}

void Group::start_message(int teller) {
  const std::size_t length = headers_[static_cast<std::size_t>(teller)].message_bytes;
  if (teller == rank_) {
    for (int r = 0; r < size(); ++r) send(r, reinterpret_cast<const std::byte*>(message_.data()), length);
  } else {
    message_.resize(length);
    receive(teller, reinterpret_cast<std::byte*>(message_.data()), length);
  }
  start();
}

Failure Group::failure_of(int teller) const {
  const Header& header = headers_[static_cast<std::size_t>(teller)];
  return {header.kind, header.rank, message_};
}

void Group::mark_lost(const Error& error) {
  error_ = error;
  state_ = State::Lost;
  world_->status.leave();
}

void Group::lose(const Error& error) {
  mark_lost(error);
  throw Error(error);
}

std::string Group::disagreement() const {
  std::vector<std::pair<std::string, std::string>> calls;  // what, by which ranks
  bool all_agree = true;
  for (std::size_t r = 0; r < headers_.size(); ++r) {
    all_agree &= agree(headers_[0].call, headers_[r].call);
    const std::string what = described(headers_[r].call);
    const auto same = std::find_if(calls.begin(), calls.end(), [&](const auto& call) { return call.first == what; });
    if (same == calls.end()) {
      calls.emplace_back(what, std::to_string(r));
    } else {
      same->second += ", " + std::to_string(r);
    }
  }
  if (all_agree) return "";
  std::string text =
      "Communicator: collective " + std::to_string(number_) + ": expected the same call of all ranks, got ";
  for (std::size_t i = 0; i < calls.size(); ++i)
    text += (i == 0 ? "" : "; ") + calls[i].first + " (rank " + calls[i].second + ")";
  return text;
}

void Group::begin(const Call& call) {
  if (error_) throw Error(*error_);
  if (size() == 1) return;
  GRPO_ASSERT(state_ == State::Ready);
  world_->status.enter(described(call) + " (collective " + std::to_string(++number_) + ")");
  state_ = State::Moving;
  start_headers({.call = call});
  wait(World::Wait::Idle);
  if (const int teller = first_failed(); teller >= 0) {
    start_message(teller);
    wait(World::Wait::Busy);
    if (!world_->failure) world_->failure = failure_of(teller);
    lose(failure_of(teller).error());
  }
  if (const std::string text = disagreement(); !text.empty()) lose(Error(text));
}

void Group::finish() {
  if (size() == 1) return;
  state_ = State::Ready;
  world_->status.leave();
}

std::byte* Group::scratch(std::size_t bytes) {
  if (scratch_.size() < bytes) scratch_.resize(bytes);
  return scratch_.data();
}

void Group::start_telling(const Failure& failure) {
  ++number_;
  state_ = State::Moving;
  telling_ = Telling::Headers;
  message_ = failure.message;
  start_headers({.failed = 1,
                 .kind = failure.kind,
                 .rank = failure.rank,
                 .message_bytes = static_cast<std::uint32_t>(message_.size())});
}

bool Group::told() {
  if (telling_ != Telling::Done && !channel_->done()) return false;
  if (telling_ == Telling::Headers) {
    start_message(first_failed());
    telling_ = Telling::Message;
    return false;
  }
  telling_ = Telling::Done;
  mark_lost(failure_of(first_failed()).error());
  return true;
}

bool Group::end() noexcept {
  try {
    if (size() == 1) return true;
    if (state_ == State::Moving || world_->abandoned) return false;
    const Header mine{.call = {Operation::End}};
    const auto ended = [](const Header& header) { return header.call.operation == Operation::End && !header.failed; };
    world_->status.enter(described(mine.call));
    // Ranks that still call something else learn that this one has ended, and come here too.
    do {
      start_headers(mine);
      wait(World::Wait::Idle);
      if (const int teller = first_failed(); teller >= 0) {
        start_message(teller);
        wait(World::Wait::Busy);
        log::error(failure_of(teller).error().what());
      }
    } while (!std::all_of(headers_.begin(), headers_.end(), ended));
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace grpo::inline GRPO_ABI
