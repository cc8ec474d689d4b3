-- wrk's side of a Workload: one request after another, and the summary as one line of numbers.

local workload, body, sent = {}, "", 0

function init(arguments)
  for _, argument in ipairs(arguments) do
    local name, value = argument:match("^(%w+)=(.*)$")
    workload[name] = value
  end
  workload.size, workload.keys = tonumber(workload.size), tonumber(workload.keys)
  if workload.size > 0 then
    local file = assert(io.open(workload.bodies, "rb"))
    body = file:read("*a")
    file:close()
  end
end

function request()
  sent = sent + 1
  local number = sent
  if workload.keys > 0 then number = (sent * 7919) % workload.keys end
  local path = workload.path:gsub("{key}", string.format("%s%09d", workload.series, number))
  local head = workload.method .. " " .. path .. " HTTP/1.1\r\nHost: bench\r\n"
  if workload.size == 0 then return head .. "\r\n" end
  local start = (sent * 97) % (#body - workload.size)
  return head .. "Content-Length: " .. workload.size .. "\r\n\r\n"
    .. body:sub(start + 1, start + workload.size)
end

function done(summary, latency)
  local failed = summary.errors
  print(string.format("figures %d %d %d %d %d %d", summary.requests, summary.duration,
    summary.bytes, latency:percentile(50), latency:percentile(99),
    failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
