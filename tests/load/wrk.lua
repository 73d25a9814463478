-- wrk.lua - puzzles for wrk, which sends a request as soon as the last one of a connection is answered:
--
--     wrk -t1 -c64 -d10 --latency -s tests/load/wrk.lua http://127.0.0.1:8080
--
-- So it finds out how much a server can do. For what clients wait at some rate use build/tests/load: wrk
-- sends nothing while it waits. The file of puzzles is an argument behind `--`.

local bodies = {}
local threads = {}
local at = 0

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    for line in io.lines(args[1] or "tests/behaviour/puzzles.csv") do
        local question = line:match("^[^,]*,([0-9.]+),")
        if question then
            table.insert(bodies, wrk.format("POST", "/solve", {["Content-Type"] = "application/json"},
                                            '{"grid":"' .. question .. '"}'))
        end
    end
    solved, refused, failed = 0, 0, 0
end

function request()
    at = at % #bodies + 1
    return bodies[at]
end

function response(status, headers, body)
    if status == 429 or status == 503 then
        refused = refused + 1
    elseif status == 200 and body:find('"valid":true', 1, true) then
        solved = solved + 1
    else
        failed = failed + 1
    end
end

function done(summary, latency, requests)
    local sums = {solved = 0, refused = 0, failed = 0}
    for _, thread in ipairs(threads) do
        for name in pairs(sums) do
            sums[name] = sums[name] + thread:get(name)
        end
    end
    print(string.format("%d solved (%.1f/s), %d refused, %d not solved or failed", sums.solved,
                        sums.solved / (summary.duration / 1e6), sums.refused, sums.failed))
end
