/* measure_host.c: noise, encoding, decoding and updates of a matrix in host memory, in the chunks, planes and pieces
 * that masters have. */
#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/rebuild.h"
#include "engine/measure/measure.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"

#include <stdlib.h>

#define PIECE ZO2_MASTERS_PIECE /* values of a task */

/* The rows of a task. */
typedef struct piece {
    uint8_t *wire, *rest;
    uint64_t chunk_rows; /* rows of the whole chunk */
    uint64_t row, rows;  /* within the chunk */
    uint64_t first;      /* element of the matrix */
    float *w;            /* its fp32 values in m->w */
} piece;

static piece piece_of(const zo2_measure *m, uint64_t i)
{
    uint64_t chunk = i / m->pieces;
    piece p = {.row = i % m->pieces * m->piece_rows};
    p.chunk_rows = zo2_measure_rows_of(m, chunk);
    if (p.row < p.chunk_rows)
        p.rows = p.chunk_rows - p.row < m->piece_rows ? p.chunk_rows - p.row : m->piece_rows;
    p.first = (chunk * m->chunk_rows + p.row) * m->spec.cols;
    p.wire = m->planes + chunk * m->chunk_stride;
    p.rest = p.wire + m->rest_at;
    p.w = m->w + (m->w ? p.first : 0);
    return p;
}

/* ---- tasks ---- */

static void noise_piece(void *arg, uint64_t i)
{
    const zo2_measure *m = arg;
    uint64_t total = m->spec.rows * m->spec.cols, end = (i + 1) * PIECE < total ? (i + 1) * PIECE : total;
    float z[2048]; /* on a caller's stack, too, which may be small */
    for (uint64_t at = i * PIECE; at < end; at += sizeof z / sizeof *z) {
        uint64_t n = end - at < sizeof z / sizeof *z ? end - at : sizeof z / sizeof *z;
        zo2_noise_values(z, 1, 0, 0, at, n, m->spec.dist);
    }
}

static void split_piece(void *arg, uint64_t i)
{
    const zo2_measure *m = arg;
    piece p = piece_of(m, i);
    if (p.rows)
        m->codec->split(p.w, p.chunk_rows, m->spec.cols, p.row, p.rows, p.wire, p.rest);
}

static void join_piece(void *arg, uint64_t i)
{
    const zo2_measure *m = arg;
    piece p = piece_of(m, i);
    if (p.rows)
        m->codec->join(p.wire, p.rest, p.chunk_rows, m->spec.cols, p.row, p.rows, p.w);
}

static void decode_piece(void *arg, uint64_t i)
{
    const zo2_measure *m = arg;
    piece p = piece_of(m, i);
    if (p.rows)
        m->codec->decode(p.wire, p.chunk_rows, m->spec.cols, p.row, p.rows, p.w);
}

static void update_piece(void *arg, uint64_t i)
{
    zo2_measure *m = arg;
    piece p = piece_of(m, i);
    zo2_updates a = {.dist = m->spec.dist, .decays = 1, .u = &m->update, .count = 1};
    if (p.rows && !zo2_update_chunk(m->codec, p.wire, p.rest, p.chunk_rows, m->spec.cols, p.row, p.rows, p.first, &a))
        zo2_job_error_set(&m->error, zo2_error(ZO2_ERR_INTERNAL, "a measured update left what its wire can hold"));
}

static void weights_piece(void *arg, uint64_t i) /* first touch and values of what is read */
{
    const zo2_measure *m = arg;
    piece p = piece_of(m, i);
    uint64_t n = p.rows * m->spec.cols;
    for (uint64_t at = 0; at < n; at += PIECE)
        zo2_measure_weights(p.w + at, p.first + at, n - at < PIECE ? n - at : PIECE);
}

/* ---- passes ---- */

static zo2_status run_pieces(zo2_measure *m, void (*task)(void *arg, uint64_t i))
{
    zo2_pool_run(m->pool, m->pieces * zo2_measure_chunks(m), task, m);
    return zo2_job_error_raise(&m->error);
}

static zo2_status pass_noise(zo2_measure *m)
{
    zo2_pool_run(m->pool, (m->spec.rows * m->spec.cols + PIECE - 1) / PIECE, noise_piece, m);
    return ZO2_OK;
}

static zo2_status pass_split(zo2_measure *m)
{
    return run_pieces(m, split_piece);
}

static zo2_status pass_join(zo2_measure *m)
{
    return run_pieces(m, join_piece);
}

static zo2_status pass_decode(zo2_measure *m)
{
    return run_pieces(m, decode_piece);
}

static zo2_status pass_update(zo2_measure *m)
{
    m->update.key++; /* another step */
    return run_pieces(m, update_piece);
}

/* ---- preparation ---- */

static zo2_status prepare_noise(zo2_measure *m)
{
    m->info.items = (double)(m->spec.rows * m->spec.cols);
    return ZO2_OK;
}

/* What a pass moves: join() doesn't look at the wire of a codec whose rest plane has all 32 bits. */
static void count_bytes(zo2_measure *m)
{
    uint64_t rows = m->spec.rows, cols = m->spec.cols, fp32 = rows * cols * 4;
    uint64_t wire = zo2_wire_room(m->codec, rows, cols), rest = m->codec->rest_bytes(rows, cols);
    uint64_t exact = rest >= fp32 ? rest : wire + rest;
    zo2_measure_kind kind = m->spec.kind;
    m->info.bytes_read = kind == ZO2_MEASURE_SPLIT ? fp32 : kind == ZO2_MEASURE_DECODE ? wire : exact;
    m->info.bytes_written = kind == ZO2_MEASURE_SPLIT || kind == ZO2_MEASURE_UPDATE ? wire + rest : fp32;
}

zo2_status zo2_measure_prepare_masters(zo2_measure *m)
{
    uint64_t rows = m->spec.rows, cols = m->spec.cols;
    m->chunk_rows = m->spec.chunk_bytes / zo2_wire_room(m->codec, 1, cols);
    m->chunk_rows = m->chunk_rows == 0 ? 1 : m->chunk_rows < rows ? m->chunk_rows : rows;
    m->piece_rows = cols < PIECE ? PIECE / cols : 1;
    m->pieces = (m->chunk_rows + m->piece_rows - 1) / m->piece_rows;
    zo2_chunk like = {.wire_bytes = zo2_wire_room(m->codec, m->chunk_rows, cols),
                      .rest_bytes = m->codec->rest_bytes(m->chunk_rows, cols)};
    m->rest_at = zo2_ram_rest_at(&like, ZO2_RAM_SKEW);
    m->chunk_stride = (m->rest_at + like.rest_bytes + 4095) & ~4095ull;
    uint64_t planes = zo2_measure_chunks(m) * m->chunk_stride;
    zo2_status s = zo2_measure_map(m, planes + rows * cols * 4);
    if (s)
        return s;
    m->planes = m->memory;
    m->w = (float *)(void *)(m->memory + planes);
    run_pieces(m, weights_piece);
    run_pieces(m, split_piece);
    m->update = (zo2_update){.queries = m->spec.queries};
    for (uint32_t q = 0; q < m->update.queries; q++)
        m->update.c[q] = 1e-6f;
    m->info.items = (double)(rows * cols);
    count_bytes(m);
    return ZO2_OK;
}

const zo2_measure_kernel zo2_measure_host_kernels[5] = {
    {ZO2_MEASURE_NOISE, prepare_noise, pass_noise},
    {ZO2_MEASURE_SPLIT, zo2_measure_prepare_masters, pass_split},
    {ZO2_MEASURE_JOIN, zo2_measure_prepare_masters, pass_join},
    {ZO2_MEASURE_DECODE, zo2_measure_prepare_masters, pass_decode},
    {ZO2_MEASURE_UPDATE, zo2_measure_prepare_masters, pass_update},
};
