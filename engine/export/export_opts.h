/* export_opts.h: what exports of weights and of bundles have in common before they begin. Private to engine/export. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_OPTS_H
#define ZO2_ENGINE_EXPORT_EXPORT_OPTS_H

#include "engine/model/arch.h"
#include "engine/zo2.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"

/* The options of a caller, whose struct may be shorter or longer, or only zeroed; NULL: the defaults. ZO2_ERR_ARG: its struct_size
 * was not set. call: whose they are, for messages. */
zo2_status zo2_export_opts_own(zo2_export_opts *own, const zo2_export_opts *o, const char *call);

/* ZO2_ERR_UNSUPPORTED if the weights of a run on the pack mean nothing. */
zo2_status zo2_export_check_layers(const zo2_packfile *pack, const char *path);

/* *arch, zeroed or made by this: the list of tensors of a run with these settings on a model; NULL: the model's own. */
zo2_status zo2_export_arch(zo2_arch *arch, const zo2_arch *model, const zo2_run_settings *set);

/* *steps: how many of `have` steps at_step means. ZO2_ERR_ARG: there are fewer. what, name: "the run in", DIR. */
zo2_status zo2_export_steps(int64_t at_step, uint64_t have, const char *what, const char *name, uint64_t *steps);

#endif
