/* trainer.h - a training run: data in, checkpoints and a log out, resumable at any moment.
 *
 * DIR/log.jsonl        one JSON object per `log_every` updates and per evaluation; the same, byte
 *                      for byte, for an interrupted and resumed run as for an uninterrupted one
 * DIR/timing.jsonl     what the clock said at those updates
 * DIR/step_N.safetensors, DIR/best.safetensors   averaged weights; best: of the evaluations so far
 * DIR/state.safetensors                          everything needed to go on exactly
 *
 * All are written atomically. Used by one thread, which starts helpers of its own. Of several processes that train
 * together (comm.h) each reads the data, the first one alone reads and writes DIR. */
#ifndef TRM_ENGINE_TRAIN_TRAINER_H
#define TRM_ENGINE_TRAIN_TRAINER_H

#include <signal.h>

#include "config/train_config.h"
#include "engine/train/comm.h"

struct train_run_options {
    const char *dir;     /* created if absent */
    const char *command; /* for the provenance of checkpoints */
    bool resume;         /* go on from DIR's state, or start if there is none; without it a state is an error */
    const volatile sig_atomic_t *stop; /* when it turns nonzero: save and return; may be NULL */
    train_comm *comm;                  /* the processes that train together; NULL: this one alone */
};

trm_status train_run(const struct conf_train *conf, const struct train_run_options *options, trm_error *err);

#endif
