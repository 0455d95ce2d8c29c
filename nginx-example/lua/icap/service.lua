--- ICAP services as the configuration names them: `icap://HOST:PORT/PATH`, `icaps://...`, `icap://unix:/SOCKET:/PATH`.

local match = string.match

local _M = {}

local function parse(url)
    local scheme, rest = match(url, "^(icaps?)://(.+)$")
    if not scheme then
        return nil, "not an icap:// or icaps:// URL: " .. url
    end
    local socket, socket_path = match(rest, "^(unix:[^:]+):(/.*)$")
    if socket then
        return { url = "icap://localhost" .. socket_path, host = "localhost", address = socket, name = url }
    end
    local host, after = match(rest, "^(%[[%x:.]+%])(.*)$")
    if not host then
        host, after = match(rest, "^([%w._-]+)(.*)$")
    end
    local port, path = match(after or "", "^:?(%d*)(/[^%s]*)$")
    port = tonumber(port ~= "" and port or (scheme == "icaps" and 11344 or 1344))
    if not host or not path or not port or port < 1 or port > 65535 then
        return nil, "not a URL with host, port and path: " .. url
    end
    return {
        url = url,
        name = url,
        host = host .. ":" .. port,
        address = host,
        port = port,
        tls_name = scheme == "icaps" and (match(host, "^%[(.*)%]$") or host) or nil,
    }
end

--- Read a list of URLs with white space between them: the order is the order of fail-over.
-- @return a list of services, at least one; or nil and what is wrong.
function _M.parse_list(text)
    local services = {}
    for url in string.gmatch(text, "%S+") do
        local service, err = parse(url)
        if not service then
            return nil, err
        end
        services[#services + 1] = service
    end
    if not services[1] then
        return nil, "no ICAP service named"
    end
    return services
end

return _M
