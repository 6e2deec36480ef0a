#include "support/thread_transport.h"

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>

#include "dist/transport.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Messages on their way, by channel, sender and receiver.
struct Post {
  using Address = std::tuple<int, int, int>;
  std::mutex mutex;
  std::map<Address, std::deque<std::vector<std::byte>>> messages;
  std::atomic<bool> aborted{false};
};

[[noreturn]] void throw_aborted() { throw Error("a rank ended all ranks", ErrorKind::Guard); }

class ThreadTransport final : public Communicator::Transport {
 public:
  ThreadTransport(std::shared_ptr<Post> post, int rank, int size) : post_(std::move(post)), rank_(rank), size_(size) {}

  class ThreadChannel final : public Channel {
   public:
    ThreadChannel(std::shared_ptr<Post> post, int rank, int number)
        : post_(std::move(post)), rank_(rank), number_(number) {}

    void start(std::span<const Send> sends, std::span<const Receive> receives) override {
      GRPO_ASSERT(open_.empty());
      const std::lock_guard lock(post_->mutex);
      for (const Send& send : sends) {
        GRPO_ASSERT(send.bytes > 0 && send.bytes <= kMaxPart && send.peer != rank_);
        post_->messages[{number_, rank_, send.peer}].emplace_back(send.data, send.data + send.bytes);
      }
      open_.assign(receives.begin(), receives.end());
    }

    bool done() override {
      if (post_->aborted) throw_aborted();
      const std::lock_guard lock(post_->mutex);
      std::erase_if(open_, [&](const Receive& receive) {
        auto& queue = post_->messages[{number_, receive.peer, rank_}];
        if (queue.empty()) return false;
        GRPO_ASSERT(queue.front().size() == receive.bytes);
        std::copy(queue.front().begin(), queue.front().end(), receive.data);
        queue.pop_front();
        return true;
      });
      return open_.empty();
    }

   private:
    std::shared_ptr<Post> post_;
    int rank_, number_;
    std::vector<Receive> open_;
  };

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_size() const override { return size_; }
  std::unique_ptr<Channel> open(int number) override { return std::make_unique<ThreadChannel>(post_, rank_, number); }
  void abort(int) override {
    post_->aborted = true;
    throw_aborted();
  }

 private:
  std::shared_ptr<Post> post_;
  int rank_, size_;
};

}  // namespace

std::vector<Communicator> thread_communicators(int ranks) {
  const auto post = std::make_shared<Post>();
  std::vector<Communicator> communicators;
  for (int r = 0; r < ranks; ++r) {
    communicators.emplace_back(std::make_unique<ThreadTransport>(post, r, ranks));
    communicators.back().set_deadline(60);
  }
  return communicators;
}

void run_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  std::vector<Communicator> communicators = thread_communicators(ranks);
  std::vector<std::exception_ptr> errors(communicators.size());
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < communicators.size(); ++r) {
    threads.emplace_back([&, r] {
      try {
        body(communicators[r]);
      } catch (const Error& error) {
        errors[r] = std::current_exception();
        communicators[r].fail(error);
      } catch (const std::exception& error) {
        errors[r] = std::current_exception();
        communicators[r].fail(Error(error.what(), ErrorKind::Internal));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace grpo::inline GRPO_ABI
