#include "framework/distributed/communication_thread.h"

#include <chrono>

namespace tessera {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

CommunicationThread::CommunicationThread() : thread_([this] { run(); }) {}

CommunicationThread::~CommunicationThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  posted_cv_.notify_one();
  thread_.join();
}

Communicator::Ticket CommunicationThread::post(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (posted_ == done_) busy_since_ = now();
  jobs_.push_back(std::move(job));
  posted_cv_.notify_one();
  return ++posted_;
}

void CommunicationThread::wait(Communicator::Ticket ticket) {
  const double begin = now();
  std::unique_lock lock(mutex_);
  awaited_ = true;
  done_cv_.wait(lock, [&] { return done_ >= ticket || error_ != nullptr; });
  awaited_ = false;
  usage_.waited += now() - begin;
  if (error_ != nullptr) std::rethrow_exception(error_);
}

Communicator::Usage CommunicationThread::usage() const {
  const std::lock_guard lock(mutex_);
  Communicator::Usage usage = usage_;
  if (done_ < posted_) usage.busy += now() - busy_since_;
  return usage;
}

void CommunicationThread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_cv_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      job();
    } catch (...) {
      error = std::current_exception();
    }
    job = nullptr;
    lock.lock();
    if (error != nullptr && error_ == nullptr) error_ = error;
    if (++done_ == posted_) usage_.busy += now() - busy_since_;
    done_cv_.notify_all();
  }
}

}  // namespace tessera
