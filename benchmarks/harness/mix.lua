-- Mixed load: the requests of a file, one after another, and the statuses of the answers as JSON on the standard error.
local requests, turn = {}, 0

local function parsed(line)
  local method, path, content_type, accept, hexadecimal = line:match("^(%S+) (%S+) (%S+) (%S+) (%S*)$")
  local headers = {["Host"] = wrk.host .. ":" .. wrk.port, ["Content-Type"] = content_type, ["Accept"] = accept}
  local body = hexadecimal:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
  return wrk.format(method, path, headers, method == "POST" and body or nil)
end

-- Not earlier: until here wrk does not know the host.
function init()
  for line in io.lines(os.getenv("LOAD_MIX")) do requests[#requests + 1] = parsed(line) end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

local threads = {}
function setup(thread) threads[#threads + 1] = thread end

statuses = {}
function response(status)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
end

function done()
  local counts = {}
  for _, thread in ipairs(threads) do
    for name, count in pairs(thread:get("statuses")) do counts[#counts + 1] = string.format('"%s": %d', name, count) end
  end
  io.stderr:write("{", table.concat(counts, ", "), "}\n")
end
